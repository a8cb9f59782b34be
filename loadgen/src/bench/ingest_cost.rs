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
        match self.role {
            None => node::check(self).map_err(|error| format!("{error:#}")),
            Some(_) => Ok(()),
        }
    }

    fn only_checks(&self) -> bool {
        self.check
    }

    fn run(&self) -> Result<ExitCode> {
        if let Some(Role::Publish(publish)) = &self.role {
            return publish::run(publish).map(|()| ExitCode::SUCCESS);
        }
        let report = Report::new(self, &rounds::measure(self)?);
        telling::tell(&report, self.json.as_deref())?;
        Ok(telling::code(report.is_kept()))
    }
}
