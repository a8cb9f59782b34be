//! `floor`: what the kernel and librdkafka alone take for what a push node does.
//!
//! The same bytes to the same number of sockets at the same rate, one `send()` for each delivery, and a bare consumer for the
//! same records. What receives and what publishes are processes of their own, so that the CPU of this one is the figure.

mod cli;

mod frame;

mod sockets;

mod sends;

mod receive;

mod consume;

mod produce;

mod report;

use std::process::ExitCode;

use anyhow::Result;

use self::cli::{Cli, Role};
pub(crate) use self::report::Report;
use crate::{
    bench::{
        program::{self, Program},
        telling,
    },
    process,
};

/// What each of the two processes has open besides connections.
const FILES_OTHERWISE: u64 = 64;

/// Does what the command line says.
pub fn main() -> ExitCode {
    program::main::<Cli>()
}

impl Program for Cli {
    fn check(&self) -> Result<(), String> {
        self.check_values()?;
        if self.role.is_none() {
            let needed = u64::from(self.shape().connections) + FILES_OTHERWISE;
            process::check_open_files(needed).map_err(|error| error.to_string())
        } else {
            Ok(())
        }
    }

    fn only_checks(&self) -> bool {
        self.check
    }

    fn run(&self) -> Result<ExitCode> {
        match &self.role {
            None => measure(self)?,
            Some(Role::Receive(receive)) => receive::run(receive)?,
            Some(Role::Produce(produce)) => produce::run(produce)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One after the other: the sends do not take the CPU that the consumer needs to be awake.
fn measure(cli: &Cli) -> Result<()> {
    let shape = cli.shape();
    let sends = sends::measure(&shape, cli.time)?;
    let consumer =
        cli.kafka.as_ref().map(|kafka| consume::measure(&shape, cli.time, kafka, cli.topic.as_deref()));
    let report = Report::new(cli, &sends, consumer.transpose()?.as_ref());
    telling::tell(&report, cli.json.as_deref())
}
