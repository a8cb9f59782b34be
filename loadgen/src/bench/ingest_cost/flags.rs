//! The flags of `ingest-cost`, and of its publishing process.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{events::Events, method::Method};
use crate::bench::programs;

/// The flags of `ingest-cost`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    /// Use an existing topic. Without this flag, a topic with 12 partitions is created, and deleted
    /// at the end.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,

    /// The publishing methods to measure, in this order.
    #[arg(long = "method", value_enum, value_delimiter = ',', value_name = "METHOD,…", default_values_t = Method::ALL)]
    pub(crate) methods: Vec<Method>,

    /// How often to measure each method, in turn with the bare producer.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) rounds: u8,

    /// The number of events per measurement; a fifth of it for `unary`.
    #[arg(long, default_value_t = 500_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub(crate) events: u64,

    #[command(flatten)]
    pub(crate) shape: Events,

    /// The lower bound of the ratio of `stream` to the bare producer, in events per CPU-second.
    #[arg(long, default_value_t = 0.5, value_name = "RATIO")]
    pub(crate) bound: f64,

    /// The program to measure [default: the `tailcast` next to this program].
    #[arg(long, value_name = "FILE", conflicts_with = "ingest")]
    tailcast: Option<PathBuf>,

    /// Measure a running ingest service instead.
    #[arg(long, value_name = "HOST:PORT", requires = "ingest_pid")]
    pub(crate) ingest: Option<String>,

    /// The process id of that service.
    #[arg(long, value_name = "PID", requires = "ingest")]
    pub(crate) ingest_pid: Option<u32>,
}

/// The flags of the publishing process.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[arg(long)]
    pub(crate) to: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long, value_enum)]
    pub(crate) by: Method,
    #[arg(long)]
    pub(crate) count: u64,
    #[command(flatten)]
    pub(crate) shape: Events,
}

impl Flags {
    pub(crate) fn program(&self) -> Result<PathBuf> {
        self.tailcast.clone().map_or_else(|| programs::find("tailcast"), Ok)
    }

    /// Returns the number of events per measurement of a method: whole requests.
    pub(crate) fn events_by(&self, method: Method) -> u64 {
        let events = if method == Method::Unary { self.events / 5 } else { self.events };
        events.next_multiple_of(method.per_request())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flags::parse;

    #[test]
    fn all_methods_are_measured_unless_some_are_named() {
        let flags: Flags = parse("").expect("all have defaults");
        assert_eq!(flags.methods, Method::ALL);
        let flags: Flags = parse("--method stream,unary --events 1234").expect("they are methods");
        assert_eq!(flags.methods, [Method::Stream, Method::Unary]);
        assert_eq!((flags.events_by(Method::Stream), flags.events_by(Method::Unary)), (1_300, 246));
    }
}
