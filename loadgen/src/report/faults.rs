//! What was found of slow readers, a reconnect storm, and conflation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Percentiles;

/// Connections that stopped reading for a while.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SlowReaders {
    pub(crate) connections: u64,
    pub(crate) seconds: f64,
    /// How long they paused after each message; null: they did not read at all.
    pub(crate) pause_seconds: Option<f64>,
    /// How nodes ended their sessions, by close code.
    pub(crate) closes: BTreeMap<u16, u64>,
    /// Of what came to them.
    pub(crate) latency_us: Percentiles,
    /// The memory of the servers when they stopped reading, the most since, and at the end, in bytes; with --server-metrics
    /// less what windows and pages hold.
    pub(crate) memory_before: Option<u64>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) memory_after: Option<u64>,
    /// How much it grew for each of them.
    pub(crate) growth_per_client: Option<u64>,
}

/// A reconnect storm.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StormReport {
    /// How long all connections were away.
    pub(crate) away_seconds: f64,
    /// Connections that have their subscriptions again, and how long after all began to reconnect the last one had.
    pub(crate) resumed: u64,
    pub(crate) resumed_seconds: Option<f64>,
    /// Connections that have what they missed, and how long after that moment the last one had it.
    pub(crate) caught_up: u64,
    pub(crate) caught_up_seconds: Option<f64>,
    /// The fewest and most records that a connection had missed.
    pub(crate) behind_min: Option<u64>,
    pub(crate) behind_max: u64,
    /// Bytes of keys and values that were published while all were away.
    pub(crate) unique_bytes: u64,
    /// Bytes that the nodes read from Kafka for who is behind; null without --server-metrics.
    pub(crate) catch_up_bytes: Option<u64>,
    /// The one divided by the other.
    pub(crate) catch_up_ratio: Option<f64>,
    /// Of events that were due while their connection was away, or had not caught up yet.
    pub(crate) latency_us: Percentiles,
}

/// What conflated subscriptions were told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Conflated {
    /// Records of all connections' channels that were acknowledged.
    pub(crate) records: u64,
    pub(crate) delivered: u64,
    /// Records that were said to be skipped.
    pub(crate) skipped: u64,
}
