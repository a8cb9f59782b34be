//! Results of slow readers, of a reconnect storm, and of conflation.

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
    /// How nodes closed their sessions, by close code.
    pub(crate) closes: BTreeMap<u16, u64>,
    /// Latency of deliveries to them.
    pub(crate) latency_us: Percentiles,
    /// The servers' memory when they stopped reading, the maximum since, and at the end, in bytes;
    /// with --server-metrics without that of windows and pages.
    pub(crate) memory_before: Option<u64>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) memory_after: Option<u64>,
    /// The growth of that memory per slow client.
    pub(crate) growth_per_client: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StormReport {
    /// How long all connections were away.
    pub(crate) away_seconds: f64,
    /// Connections that have their subscriptions again, and the time from the reconnect to the last
    /// one.
    pub(crate) resumed: u64,
    pub(crate) resumed_seconds: Option<f64>,
    /// Connections that have caught up, and the time from the reconnect to the last one.
    pub(crate) caught_up: u64,
    pub(crate) caught_up_seconds: Option<f64>,
    /// The fewest and most records that a connection had missed.
    pub(crate) behind_min: Option<u64>,
    pub(crate) behind_max: u64,
    /// Bytes of keys and values published while all were away.
    pub(crate) unique_bytes: u64,
    /// Bytes that the nodes read from Kafka for clients that were behind; null without
    /// --server-metrics.
    pub(crate) catch_up_bytes: Option<u64>,
    /// `catch_up_bytes` divided by `unique_bytes`.
    pub(crate) catch_up_ratio: Option<f64>,
    /// Latency of events that were due while their connection was away or catching up.
    pub(crate) latency_us: Percentiles,
}

/// Totals of conflated subscriptions.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Conflated {
    /// Acknowledged records, over all connections' channels.
    pub(crate) records: u64,
    pub(crate) delivered: u64,
    /// Records reported as skipped.
    pub(crate) skipped: u64,
}
