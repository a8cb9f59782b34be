//! `tailcast version`: the version and its build.

use std::env::consts::{ARCH, OS};

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Prints the version, the target and the compiler.
#[derive(Debug, clap::Args)]
pub(super) struct Version {}

impl Version {
    /// Prints the version.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        output::print(format_args!("tailcast {} ({ARCH}-{OS}, {profile})\n", env!("CARGO_PKG_VERSION")))?;
        Ok(Exit::Done)
    }
}
