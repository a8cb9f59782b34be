//! The command line. What the companion processes are to do comes as subcommands that nobody else needs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::bench::shape::{Shape, ShapeFlags};

/// Measures what a push node cannot do without: one `send()` of the same bytes for each delivery, and reading the records
/// from Kafka. Says the CPU of both for each delivery.
#[derive(Debug, Parser)]
#[command(name = "floor", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,

    #[command(flatten)]
    pub(crate) shape: ShapeFlags,

    #[command(flatten)]
    pub(crate) time: Time,

    /// A Kafka to read the same records from; without it only the sends are measured.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,

    /// A topic that exists. Otherwise one with 12 partitions is created, and deleted at the end.
    #[arg(long, value_name = "TOPIC", requires = "kafka")]
    pub(crate) topic: Option<String>,

    /// Write the results as JSON (#/$defs/floor of loadgen/bench/schema.json) to a file, or to standard output with `-`; the summary
    /// then goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Say whether this can be measured here, and end.
    #[arg(long)]
    pub(crate) check: bool,
}

/// What a companion process does.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Opens connections, and reads and discards.
    #[command(hide = true)]
    Receive(Receive),
    /// Publishes records at a fixed rate.
    #[command(hide = true)]
    Produce(Produce),
}

/// What the receiving process has to know.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) connections: u32,
}

/// What the publishing process has to know.
#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[arg(long)]
    pub(crate) brokers: String,
    #[arg(long)]
    pub(crate) to: String,
    #[arg(long)]
    pub(crate) events: u64,
    #[arg(long)]
    pub(crate) per_second: u32,
    #[arg(long)]
    pub(crate) bytes: u32,
    #[arg(long)]
    pub(crate) among: u32,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Time {
    /// How long to send before measuring begins.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// How long to measure. The kernel tells CPU time in steps of 10 ms.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
}

impl Cli {
    /// Returns what to measure.
    pub(crate) fn shape(&self) -> Shape {
        self.shape.shape()
    }

    /// Says what is wrong with values that are each right.
    pub(crate) fn check_values(&self) -> Result<(), String> {
        if self.time.duration < Duration::from_secs(1) {
            return Err("--duration is at least 1s: the kernel tells CPU time in steps of 10 ms".into());
        }
        self.shape().check()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let all = ["floor"].into_iter().chain(arguments.split_whitespace());
        let found = match Cli::try_parse_from(all) {
            Ok(cli) => cli.check_values().err().unwrap_or_else(|| format!("{:?}", cli.shape())),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{arguments}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_changes_one_value_of_a_shape() {
        check("", "connections: 12000, keys: 1000, rate: 1000, payload: 512");
        check("--shape S3 --rate 50", "connections: 100, keys: 1, rate: 50, payload: 200");
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_can() {
        check("--shape S4", "S1x5");
        check("--keys 7", "a multiple of the 7 keys");
        check("--duration 900ms", "at least 1s");
        check("--payload 0", "1..=60000");
        check("--topic quotes", "--kafka");
    }
}
