//! `feed-rate`: how many records a second a node's feed reads, encodes and appends, beside a bare consumer of the same records.
//!
//! The feed is a node's, with its fence, windows, logs and budget, in a process that has nothing else: no session. Both sides read
//! the same backlog, each in a process of its own that ends with its figures, in turn, round after round.
//!
//! Compiled with the feature `feed-rate` alone, which needs the inside of the push service.

mod cli;

mod backlog;

mod read;

mod rounds;

mod report;

use std::process::ExitCode;

use anyhow::Result;

use self::{
    cli::{Cli, Role},
    report::Report,
};
use crate::bench::{
    program::{self, Program},
    telling,
};

/// Does what the command line says.
pub fn main() -> ExitCode {
    program::main::<Cli>()
}

impl Program for Cli {
    fn check(&self) -> Result<(), String> {
        // Its values do not depend on each other.
        Ok(())
    }

    fn only_checks(&self) -> bool {
        self.check
    }

    fn run(&self) -> Result<ExitCode> {
        if let Some(Role::Read(read)) = &self.role {
            return read::run(read).map(|()| ExitCode::SUCCESS);
        }
        let report = Report::new(self, &rounds::measure(self)?);
        telling::tell(&report, self.json.as_deref())?;
        Ok(telling::code(report.is_kept()))
    }
}
