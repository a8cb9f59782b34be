//! The programs that a benchmark starts; they are built into the same folder as this one.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Finds a program next to this one.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let program = this()?.with_file_name(name);
    ensure!(
        program.is_file(),
        "{} does not exist; build it with cargo build --profile dist --locked -p tailcast -p loadgen",
        program.display()
    );
    Ok(program)
}

pub(crate) fn this() -> Result<PathBuf> {
    env::current_exe().context("the path of this program is unknown")
}
