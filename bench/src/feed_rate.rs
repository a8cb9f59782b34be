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

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser as _;

use self::{
    cli::{Cli, Role},
    report::Report,
};
use crate::telling::{MISSED, tell};

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.role {
        None => measure(&cli),
        Some(Role::Read(read)) => read::run(read).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(io::stderr(), "feed-rate: {error:#}");
        ExitCode::FAILURE
    })
}

fn measure(cli: &Cli) -> Result<ExitCode> {
    let report = Report::new(cli, &rounds::measure(cli)?);
    tell(&report, cli.json.as_deref())?;
    Ok(if report.is_kept() { ExitCode::SUCCESS } else { MISSED.into() })
}
