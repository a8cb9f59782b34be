//! The flags of `feed-rate`, and of its reading processes.

use clap::{Args, ValueEnum};
use serde::Serialize;
use tailcast_push::benchmarks::Watching;

/// The flags of `feed-rate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    /// What to watch, in this order.
    #[arg(long = "watch", value_enum, value_delimiter = ',', value_name = "WHAT,…", default_values_t = Watch::ALL)]
    pub(crate) watches: Vec<Watch>,

    /// How often to measure each, in turn with the bare consumer.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) rounds: u8,

    #[command(flatten)]
    pub(crate) backlog: Backlog,

    /// The smallest ratio of the feed to the bare consumer, in records per second.
    #[arg(long, default_value_t = 0.5, value_name = "RATIO")]
    pub(crate) bound: f64,
}

/// The records to read.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct Backlog {
    /// The number of records.
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub(crate) records: u64,

    /// The size of a record's value, in bytes.
    #[arg(long, default_value_t = 512, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=40_000))]
    pub(crate) payload: u32,

    /// The number of keys. Records take them in turn.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,
}

/// Which part of the topic is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Watch {
    /// Each key, through its own channel.
    Keys,
    /// All keys, through one channel.
    Topic,
    /// Nothing: records are read and retained.
    Nothing,
}

/// The flags of a reading process.
#[derive(Debug, Args)]
pub(crate) struct Read {
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) partitions: i32,
    /// What the feed watches; absent for the bare consumer.
    #[arg(long, value_enum)]
    pub(crate) feed: Option<Watch>,
    #[command(flatten)]
    pub(crate) backlog: Backlog,
}

impl Watch {
    const ALL: [Self; 3] = [Self::Keys, Self::Topic, Self::Nothing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Topic => "topic",
            Self::Nothing => "nothing",
        }
    }

    /// Returns the channels.
    pub(crate) fn channels(self, keys: u32) -> Watching {
        match self {
            Self::Keys => Watching::Keys(usize::try_from(keys).unwrap_or(usize::MAX)),
            Self::Topic => Watching::Topic,
            Self::Nothing => Watching::Nothing,
        }
    }
}
