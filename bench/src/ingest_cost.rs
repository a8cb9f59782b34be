//! `ingest-cost`: how many events ingest takes per CPU-second, beside a bare librdkafka producer of the same bytes.
//!
//! One event by Publish, a hundred by Publish, and batches of a hundred by PublishStream, each in turn with the bare producer, round
//! after round, to the same Kafka. The throttle is open, with as many events in flight on both sides, and every event has to be
//! acknowledged. The gRPC client is a process of its own, and its CPU is not counted.

mod cli;

mod way;

mod events;

mod node;

mod bare;

mod publish;

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
        Some(Role::Publish(publish)) => publish::run(publish).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(io::stderr(), "ingest-cost: {error:#}");
        ExitCode::FAILURE
    })
}

fn measure(cli: &Cli) -> Result<ExitCode> {
    let report = Report::new(cli, &rounds::measure(cli)?);
    tell(&report, cli.json.as_deref())?;
    Ok(if report.is_kept() { ExitCode::SUCCESS } else { MISSED.into() })
}
