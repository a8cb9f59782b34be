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

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser as _;

use self::cli::{Cli, Role};
pub(crate) use self::report::Report;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let outcome = match &cli.role {
        None => measure(&cli),
        Some(Role::Receive(receive)) => receive::run(receive),
        Some(Role::Produce(produce)) => produce::run(produce),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(io::stderr(), "floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One after the other: the sends do not take the CPU that the consumer needs to be awake.
fn measure(cli: &Cli) -> Result<()> {
    let shape = cli.shape();
    let sends = sends::measure(&shape, cli.time)?;
    let consumer =
        cli.kafka.as_ref().map(|kafka| consume::measure(&shape, cli.time, kafka, cli.topic.as_deref()));
    let report = Report::new(cli, &sends, consumer.transpose()?.as_ref());
    report.tell(cli.json.as_deref())
}

impl Cli {
    /// Reads the command line; ends the process with 2 when it is wrong.
    fn read() -> Self {
        let cli = Self::parse();
        if let Err(wrong) = cli.check() {
            use clap::{CommandFactory as _, error::ErrorKind};
            Self::command().error(ErrorKind::ValueValidation, wrong).exit();
        }
        cli
    }
}
