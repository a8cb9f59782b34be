//! The load that `loadgen` is started with.

use std::time::Duration;

use clap::{Parser as _, ValueEnum};
use serde::Serialize;

use super::{shape::Shape, timing::Timing};
use crate::{cli::Cli, consistency};

/// The same as `floor` uses.
const PARTITIONS: u16 = 12;

/// Connections opened per second, except when opening is what is measured.
const CONNECT_RATE: u32 = 2_000;

/// The lateness allowed to loadgen when both cores are full by design.
const LATE_MAX_WHEN_FULL: Duration = Duration::from_secs(60);

/// How long records missed in a storm may take to arrive after the last event.
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
    /// Whether a bare consumer reads the same topic during the run.
    #[serde(skip)]
    pub(crate) compare_kafka: bool,
    /// Connections opened per second.
    pub(crate) connect_rate: u32,
    pub(crate) storm: Option<Storm>,
    #[serde(skip)]
    pub(crate) timing: Timing,
}

/// The node, Kafka and topic under load.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) url: String,
    pub(crate) pid: u32,
    pub(crate) metrics: String,
    pub(crate) kafka: &'a str,
    pub(crate) topic: &'a str,
}

/// All connections dropped at once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Storm {
    /// When, relative to the start of measuring.
    #[serde(skip)]
    pub(crate) at: Duration,
    /// How many records each connection misses before all reconnect.
    pub(crate) behind: u32,
}

/// The encoding of WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Protobuf in binary messages.
    Proto,
    /// ProtoJSON in text messages.
    Json,
}

impl Load {
    /// Returns the floor's load at this shape.
    pub(crate) fn of(shape: &Shape, timing: Timing) -> Self {
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
            timing,
        }
    }

    /// Returns the same load after checking it.
    pub(crate) fn checked(shape: &Shape, timing: Timing) -> Result<Self, String> {
        shape.check()?;
        let load = Self::of(shape, timing);
        load.check().map(|()| load)
    }

    /// Checks this load with loadgen's own command line.
    pub(crate) fn check(&self) -> Result<(), String> {
        let example = Target {
            url: "ws://127.0.0.1:8080/v1/connect".into(),
            pid: 1,
            metrics: "http://127.0.0.1:9100/metrics".into(),
            kafka: "127.0.0.1:9092",
            topic: "bench",
        };
        let arguments = ["loadgen".to_owned()].into_iter().chain(self.arguments(&example));
        match Cli::try_parse_from(arguments) {
            Ok(cli) => consistency::check(&cli),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().replace("error: ", "")),
        }
    }

    /// Returns loadgen's arguments for this load.
    pub(crate) fn arguments(&self, target: &Target<'_>) -> Vec<String> {
        let duration = |time: Duration| humantime::format_duration(time).to_string();
        let mut flags = vec![
            ("--url", target.url.clone()),
            ("--server-pid", target.pid.to_string()),
            ("--server-metrics", target.metrics.clone()),
            ("--kafka", target.kafka.to_owned()),
            ("--topic", target.topic.to_owned()),
            // The topic exists; with this flag loadgen waits until it has leaders.
            ("--create-topic", PARTITIONS.to_string()),
            ("--connections", self.connections.to_string()),
            ("--channels-per-connection", self.channels_per_connection.to_string()),
            ("--keys", self.keys.to_string()),
            ("--rate", self.rate.to_string()),
            ("--payload", self.payload.to_string()),
            ("--subprotocol", self.format.name().to_owned()),
            ("--connect-rate", self.connect_rate.to_string()),
            ("--warmup", duration(self.timing.time.warmup)),
            ("--duration", duration(self.timing.time.duration)),
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
        let mut arguments: Vec<_> = flags.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
        if self.compare_kafka {
            arguments.push("--compare-kafka".into());
        }
        arguments
    }
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            Self::Json => "json",
        }
    }
}
