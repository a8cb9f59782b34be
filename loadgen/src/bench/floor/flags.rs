//! The flags of `floor`, and of its companion processes.

use std::net::SocketAddr;

use clap::Args;

use crate::bench::{shape::ShapeFlags, timing::Time};

/// The flags of `floor`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shape: ShapeFlags,

    #[command(flatten)]
    pub(crate) time: Time,

    /// Use an existing topic. Without this flag, a topic with 12 partitions is created, and deleted
    /// at the end.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,

    /// Measure the sends only, without Kafka.
    #[arg(long, conflicts_with = "topic")]
    pub(crate) sends_only: bool,
}

/// The flags of the receiving process.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) connections: u32,
}

/// The flags of the publishing process.
#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) events: u64,
    #[arg(long)]
    pub(crate) rate: u32,
    #[arg(long)]
    pub(crate) payload: u32,
    #[arg(long)]
    pub(crate) keys: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flags::parse;

    #[test]
    fn a_flag_changes_one_value_of_a_shape() {
        let shape = |flags| format!("{:?}", parse::<Flags>(flags).expect("they are flags").shape.shape());
        assert!(shape("").ends_with("{ connections: 12000, keys: 1000, rate: 1000, payload: 512 }"));
        assert!(
            shape("--shape S3 --rate 50").ends_with("{ connections: 100, keys: 1, rate: 50, payload: 200 }")
        );
    }
}
