//! What `loadgen` is asked for.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::{cli::Pace, node::Node, stage::Stage};
use crate::bench::shape::Shape;

/// As many as `floor` has.
const PARTITIONS: u16 = 12;

/// The smallest value that loadgen's stamp fits into, the most connections it takes, and the most channels of each.
const PAYLOAD_MIN: u32 = 36;
const CONNECTIONS_MAX: u32 = 200_000;
const CHANNELS_MAX: u32 = 1_000;

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

    /// Says why loadgen would not take it.
    ///
    /// # Errors
    ///
    /// When it would not, with what it takes.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { connections, channels_per_connection, payload, .. } = *self;
        if payload < PAYLOAD_MIN {
            return Err(format!(
                "a value of {payload} bytes is too small: what is verified needs {PAYLOAD_MIN}"
            ));
        }
        if connections > CONNECTIONS_MAX {
            return Err(format!(
                "{connections} connections are more than the {CONNECTIONS_MAX} that loadgen has"
            ));
        }
        if channels_per_connection > CHANNELS_MAX {
            return Err(format!(
                "{channels_per_connection} channels of a connection are more than the {CHANNELS_MAX} that loadgen has"
            ));
        }
        Ok(())
    }

    /// Returns the flags that make this load on a node.
    pub(super) fn flags(
        &self,
        stage: &Stage,
        node: &Node,
        topic: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let duration = |time: Duration| humantime::format_duration(time).to_string();
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
            ("--subprotocol", self.format.name().to_owned()),
            ("--connect-rate", self.connect_rate.to_string()),
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

impl Format {
    /// Returns what it is called on command lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loadgen_takes_is_what_its_sources_say() {
        let payload = include_str!("../../payload.rs");
        assert!(payload.contains(&format!("const BYTES_MIN: usize = {PAYLOAD_MIN};")));
        let readers = include_str!("../../cli/readers.rs");
        let flag = |line: &str| readers.split_once(line).expect("loadgen has the flag").0.lines().last();
        let connections = flag("    pub(crate) connections: u32").expect("there is a line before");
        assert!(connections.contains("range(1..=200_000)"), "{connections}");
        let channels = flag("    pub(crate) channels_per_connection: u32").expect("there is a line before");
        assert!(channels.contains("range(1..=1000)"), "{channels}");
        assert_eq!((CONNECTIONS_MAX, CHANNELS_MAX), (200_000, 1_000));
    }
}
