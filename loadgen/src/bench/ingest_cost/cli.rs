//! The command line. What the publishing process is to do comes as a subcommand that nobody else needs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{events::Events, way::Way};

/// Measures how many events ingest takes per CPU-second, beside a bare librdkafka producer of the same bytes. Ends with 99 when
/// the stream takes less than the bound.
#[derive(Debug, Parser)]
#[command(
    name = "ingest-cost",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(super) role: Option<Role>,

    /// The Kafka that both publish to.
    #[arg(long, value_name = "HOST:PORT", required = true)]
    kafka: Option<String>,

    /// A topic that exists. Otherwise one with 12 partitions is created, and deleted at the end.
    #[arg(long, value_name = "TOPIC")]
    pub(super) topic: Option<String>,

    /// What to measure, in this order.
    #[arg(long = "way", value_enum, value_delimiter = ',', value_name = "WAY,…", default_values_t = Way::ALL)]
    pub(super) ways: Vec<Way>,

    /// How often each is measured, in turn with the bare producer.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) rounds: u8,

    /// How many events each time; a fifth of them one by one.
    #[arg(long, default_value_t = 500_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub(super) events: u64,

    #[command(flatten)]
    pub(super) shape: Events,

    /// What the stream has to reach of the bare producer's events per CPU-second.
    #[arg(long, default_value_t = 0.5, value_name = "RATIO")]
    pub(super) bound: f64,

    /// The program that is measured. Otherwise the `tailcast` beside this one.
    #[arg(long, value_name = "FILE", conflicts_with = "ingest")]
    pub(super) tailcast: Option<PathBuf>,

    /// An ingest service that runs already, instead.
    #[arg(long, value_name = "HOST:PORT", requires = "ingest_pid")]
    pub(super) ingest: Option<String>,

    /// Its process.
    #[arg(long, value_name = "PID", requires = "ingest")]
    pub(super) ingest_pid: Option<u32>,

    /// Write the results as JSON (#/$defs/ingest_cost of loadgen/bench/schema.json) to a file, or to standard output with `-`; the summary
    /// then goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(super) json: Option<PathBuf>,

    /// Say whether this can be measured here, and end.
    #[arg(long)]
    pub(super) check: bool,
}

/// What a companion process does.
#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// Publishes through ingest.
    #[command(hide = true)]
    Publish(Publish),
}

/// What the publishing process has to know.
#[derive(Debug, Args)]
pub(super) struct Publish {
    #[arg(long)]
    pub(super) to: String,
    #[arg(long)]
    pub(super) topic: String,
    #[arg(long, value_enum)]
    pub(super) by: Way,
    #[arg(long)]
    pub(super) count: u64,
    #[command(flatten)]
    pub(super) shape: Events,
}

impl Cli {
    /// Returns where Kafka is.
    pub(super) fn kafka(&self) -> &str {
        self.kafka.as_deref().unwrap_or_default()
    }

    /// Returns how many events are published by a way at a time: whole requests.
    pub(super) fn events_by(&self, way: Way) -> u64 {
        let events = if way == Way::Unary { self.events / 5 } else { self.events };
        events.next_multiple_of(way.per_request())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["ingest-cost"].into_iter().chain(arguments.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_ways_are_measured_unless_some_are_named() {
        let cli = parse("--kafka k:1").expect("it is all that is needed");
        assert_eq!((cli.kafka(), cli.ways.as_slice()), ("k:1", Way::ALL.as_slice()));
        let cli = parse("--kafka k:1 --way stream,unary --events 1234").expect("they are ways");
        assert_eq!(cli.ways, [Way::Stream, Way::Unary]);
        assert_eq!((cli.events_by(Way::Stream), cli.events_by(Way::Unary)), (1_300, 246));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |arguments: &str, flag: &str| {
            let error = parse(arguments).expect_err("something is missing").to_string();
            assert!(error.contains(flag), "{error}");
        };
        missing("", "--kafka");
        missing("--kafka k:1 --ingest h:1", "--ingest-pid");
        missing("--kafka k:1 --way sideways", "stream");
    }
}
