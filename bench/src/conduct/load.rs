//! What `loadgen` is asked for.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::{cli::Pace, node::Node, stage::Stage};
use crate::{process, shape::Shape};

/// As many as `floor` has.
const PARTITIONS: u16 = 12;

/// What loadgen has open besides connections.
const FILES_OTHERWISE: u64 = 200;

/// How many connections are opened in a second, unless opening is what is measured.
const CONNECT_RATE: u32 = 2_000;

/// How late loadgen may be where both cores are full by design.
const LATE_MAX_WHEN_FULL: Duration = Duration::from_secs(60);

/// How long after the last event may come what a storm left behind.
const STORM_DRAIN: Duration = Duration::from_secs(300);

/// A load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) channels_per_connection: u32,
    pub(crate) keys: u32,
    /// Events per second.
    pub(crate) rate: u32,
    pub(crate) payload: u32,
    pub(crate) format: Format,
    /// Whether the cores are full by design, so that loadgen may be late.
    #[serde(skip)]
    pub(crate) full: bool,
    /// Whether a bare consumer reads the same topic at the same time.
    #[serde(skip)]
    pub(crate) compare_kafka: bool,
    /// Connections opened per second.
    pub(crate) connect_rate: u32,
    pub(crate) storm: Option<Storm>,
    #[serde(skip)]
    pub(crate) pace: Pace,
}

/// All connections are dropped at once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Storm {
    /// When, after measuring began.
    #[serde(skip)]
    pub(crate) at: Duration,
    /// How many records each misses before all come back.
    pub(crate) behind: u32,
}

/// The form of WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Protobuf in binary messages.
    Proto,
    /// ProtoJSON in text messages.
    Json,
}

impl Load {
    /// Returns the load that the floor has at this shape.
    pub(crate) fn of(shape: &Shape, pace: Pace) -> Self {
        Self {
            connections: shape.connections,
            channels_per_connection: 1,
            keys: shape.keys,
            rate: shape.rate,
            payload: shape.payload,
            format: Format::Proto,
            full: false,
            compare_kafka: false,
            connect_rate: CONNECT_RATE,
            storm: None,
            pace,
        }
    }

    /// Returns the flags that make this load on a node.
    pub(super) fn flags(
        &self,
        stage: &Stage,
        node: &Node,
        topic: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let duration = |time: Duration| humantime::format_duration(time).to_string();
        let format = match self.format {
            Format::Proto => "proto",
            Format::Json => "json",
        };
        let mut flags = vec![
            ("--url", node.url()),
            ("--server-pid", node.pid()?.to_string()),
            ("--server-metrics", node.metrics_url()),
            ("--kafka", stage.kafka.clone()),
            ("--topic", topic.to_owned()),
            // It is there; so loadgen waits until it has leaders.
            ("--create-topic", PARTITIONS.to_string()),
            ("--connections", self.connections.to_string()),
            ("--channels-per-connection", self.channels_per_connection.to_string()),
            ("--keys", self.keys.to_string()),
            ("--rate", self.rate.to_string()),
            ("--payload", self.payload.to_string()),
            ("--subprotocol", format.to_owned()),
            ("--connect-rate", self.connect_rate.to_string()),
            ("--processes", processes(self.connections, process::files_max()?).to_string()),
            ("--warmup", duration(self.pace.warmup)),
            ("--duration", duration(self.pace.duration)),
            ("--json", "-".to_owned()),
        ];
        if self.full {
            flags.push(("--late-max", duration(LATE_MAX_WHEN_FULL)));
        }
        if let Some(storm) = self.storm {
            flags.push(("--storm-at", duration(storm.at)));
            flags.push(("--storm-behind", storm.behind.to_string()));
            flags.push(("--drain", duration(STORM_DRAIN)));
        }
        Ok(flags)
    }

    /// Returns the flags that have no value.
    pub(super) fn switches(&self) -> &'static [&'static str] {
        if self.compare_kafka { &["--compare-kafka"] } else { &[] }
    }
}

/// Returns how many processes hold so many connections, each with an open file.
fn processes(connections: u32, files_max: Option<u64>) -> u64 {
    let each = files_max.unwrap_or(u64::MAX).saturating_sub(FILES_OTHERWISE).max(1);
    u64::from(connections).div_ceil(each).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_a_process_may_open_are_held_by_several() {
        assert_eq!(processes(12_000, Some(20_000)), 1);
        assert_eq!(processes(19_900, Some(20_000)), 2);
        assert_eq!(processes(50_000, None), 1);
    }
}
