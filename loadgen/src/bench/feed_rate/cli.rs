//! The command line. What a reading process is to do comes as a subcommand that nobody else needs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tailcast_push::benchmarks::Watching;

/// Measures how many records a second a node's feed reads, encodes and appends, beside a bare consumer of the same records. Ends
/// with 99 when the feed is slower than the bound.
#[derive(Debug, Parser)]
#[command(
    name = "feed-rate",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(super) role: Option<Role>,

    /// The Kafka that both read from. A topic with 12 partitions is created there, and deleted at the end.
    #[arg(long, value_name = "HOST:PORT", required = true)]
    kafka: Option<String>,

    /// What is watched, in this order.
    #[arg(long = "watch", value_enum, value_delimiter = ',', value_name = "WHAT,…", default_values_t = Watch::ALL)]
    pub(super) watches: Vec<Watch>,

    /// How often each is measured, in turn with the bare consumer.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) rounds: u8,

    #[command(flatten)]
    pub(super) backlog: Backlog,

    /// What the feed has to reach of the bare consumer's records per second.
    #[arg(long, default_value_t = 0.5, value_name = "RATIO")]
    pub(super) bound: f64,

    /// Write the results as JSON (#/$defs/feed_rate of loadgen/bench/schema.json) to a file, or to standard output with `-`; the summary
    /// then goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(super) json: Option<PathBuf>,

    /// Say whether this can be measured here, and end.
    #[arg(long)]
    pub(super) check: bool,
}

/// What there is to read.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(super) struct Backlog {
    /// How many records.
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub(super) records: u64,

    /// The size of a record's value, in bytes.
    #[arg(long, default_value_t = 512, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=40_000))]
    pub(super) payload: u32,

    /// How many keys. Records go round them.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) keys: u32,
}

/// What of the topic is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Watch {
    /// Each key, by a channel of its own.
    Keys,
    /// All keys, by one channel.
    Topic,
    /// Nothing: records are read and kept.
    Nothing,
}

/// What a companion process does.
#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// Reads the backlog.
    #[command(hide = true)]
    Read(Read),
}

/// What a reading process has to know.
#[derive(Debug, Args)]
pub(super) struct Read {
    #[arg(long)]
    pub(super) from: String,
    #[arg(long)]
    pub(super) topic: String,
    #[arg(long)]
    pub(super) partitions: i32,
    /// The bare consumer without it.
    #[arg(long, value_enum)]
    pub(super) feed: Option<Watch>,
    #[command(flatten)]
    pub(super) backlog: Backlog,
}

impl Cli {
    /// The Kafka; empty in a process that has a role.
    pub(super) fn kafka(&self) -> &str {
        self.kafka.as_deref().unwrap_or_default()
    }
}

impl Watch {
    const ALL: [Self; 3] = [Self::Keys, Self::Topic, Self::Nothing];

    /// Returns what it is called on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Topic => "topic",
            Self::Nothing => "nothing",
        }
    }

    /// Returns the channels.
    pub(super) fn channels(self, keys: u32) -> Watching {
        match self {
            Self::Keys => Watching::Keys(usize::try_from(keys).unwrap_or(usize::MAX)),
            Self::Topic => Watching::Topic,
            Self::Nothing => Watching::Nothing,
        }
    }
}
