//! Load for Tailcast, verified: order, loss, repetition, latency.
//!
//! Knows the contract and the Rust client, and neither service: what it says about them is what a user would see.

mod cli;

mod run;

mod plan;

mod clock;

mod payload;

mod publish;

mod ledger;

mod fleet;

mod subscribe;

mod verify;

mod verdict;

mod traffic;

mod stretch;

mod server_process;

mod progress;

mod report;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{cli::Cli, report::Report};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    let outcome = run::run(&cli).and_then(|report| {
        tell(&report, cli.json.as_deref())?;
        Ok(report.clean)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(io::stderr(), "loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the results where they were asked for.
fn tell(report: &Report, json: Option<&Path>) -> Result<()> {
    let write_json = |out: &mut dyn io::Write| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)
    };
    match json {
        Some(path) if path == Path::new("-") => {
            writeln!(io::stderr(), "{report}")?;
            write_json(&mut io::stdout()).context("the results cannot be written")
        }
        Some(path) => {
            writeln!(io::stdout(), "{report}")?;
            let written = fs::File::create(path).and_then(|mut file| write_json(&mut file));
            written.with_context(|| format!("{} cannot be written", path.display()))
        }
        None => writeln!(io::stdout(), "{report}").context("the results cannot be written"),
    }
}
