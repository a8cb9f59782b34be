//! Prometheus metrics of the push service.
//!
//! Sessions update counters once per WebSocket message, not per delivery, and the counters are
//! sharded by core. Memory and lag are collected on scrape.
//!
//! Invariant: no label comes from a client. A topic becomes a label only if Kafka has it.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tailcast_services::metrics::ShardedCounter;

/// Metrics of sessions.
#[derive(Debug, Clone)]
pub(crate) struct SessionMetrics {
    pub(crate) sessions: Gauge,
    pub(crate) subscriptions: Gauge,
    /// Bytes buffered for blocked sockets.
    pub(crate) waiting: Gauge,
    /// Process memory above which new sessions are refused, in bytes.
    pub(crate) memory_max: Gauge,
    pub(crate) deliveries: ShardedCounter,
    /// Records left out of conflated subscriptions in favour of newer records of the same key.
    pub(crate) conflated: ShardedCounter,
    pub(crate) bytes: ShardedCounter,
    pub(crate) messages: ShardedCounter,
    /// Seconds from a live record's timestamp to its write, one sample for each WebSocket message.
    pub(crate) latency: Histogram,
    /// The same for records older than their subscription.
    pub(crate) resumed: Histogram,
    pub(crate) closes: Family<[(&'static str, String); 1], Counter>,
    pub(crate) refused: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) command_errors: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) retention_losses: Counter,
}

/// Metrics of the feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedMetrics {
    pub(crate) records: ShardedCounter,
    pub(crate) bytes: ShardedCounter,
    pub(crate) evictions: Counter,
}

/// Metrics of catch-up.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatchUpMetrics {
    pub(crate) pages_read: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) pages_shared: Counter,
    /// Time readers spent waiting for the rate limit, summed over all readers.
    pub(crate) paused_seconds: Counter<f64, AtomicU64>,
    pub(crate) waiting: Gauge,
    pub(crate) memory: Gauge,
}

/// Adds one to a gauge while it exists.
#[derive(Debug)]
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl SessionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tailcast_push");
        // 1 ms to 16 s. Shorter times are within the clock error between hosts.
        let latency = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        // 0.1 s to 5 days, the usual range of retention.
        let resumed = Histogram::new(exponential_buckets(0.1, 4.0, 12));
        let all = Self {
            sessions: Gauge::default(),
            subscriptions: Gauge::default(),
            waiting: Gauge::default(),
            memory_max: Gauge::default(),
            deliveries: ShardedCounter::default(),
            conflated: ShardedCounter::default(),
            bytes: ShardedCounter::default(),
            messages: ShardedCounter::default(),
            latency,
            resumed,
            closes: Family::default(),
            refused: Family::default(),
            command_errors: Family::default(),
            retention_losses: Counter::default(),
        };
        registry.register("sessions", "Open sessions", all.sessions.clone());
        registry.register("subscriptions", "Open subscriptions", all.subscriptions.clone());
        let help = "Process memory above which new sessions are refused";
        registry.register_with_unit("memory_max", help, Unit::Bytes, all.memory_max.clone());
        let help = "Bytes buffered for blocked sockets";
        registry.register_with_unit("waiting", help, Unit::Bytes, all.waiting.clone());
        registry.register("deliveries", "Records written to clients' sockets", all.deliveries.clone());
        registry.register(
            "conflated",
            "Records left out of conflated subscriptions in favour of newer records of the same key",
            all.conflated.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Bytes of WebSocket messages with deliveries",
            Unit::Bytes,
            all.bytes.clone(),
        );
        registry.register("messages", "WebSocket messages with deliveries", all.messages.clone());
        registry.register_with_unit(
            "delivery_latency",
            "Time from a live record's timestamp in Kafka to its write to a client, once per WebSocket message",
            Unit::Seconds,
            all.latency.clone(),
        );
        registry.register_with_unit(
            "resumed_age",
            "Age of records from before their subscription started when written to a client, once per WebSocket message",
            Unit::Seconds,
            all.resumed.clone(),
        );
        registry.register("closes", "Sessions that ended, by WebSocket close code", all.closes.clone());
        registry.register("refused", "Connections that were not upgraded, by reason", all.refused.clone());
        registry.register(
            "command_errors",
            "Commands answered with an error, by code",
            all.command_errors.clone(),
        );
        registry.register(
            "retention_losses",
            "Ranges removed by retention before a subscription received them",
            all.retention_losses.clone(),
        );
        all
    }
}

impl FeedMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let registry = registry.sub_registry_with_prefix("tailcast_push_feed");
        registry.register("records", "Records read from the tail of Kafka", all.records.clone());
        registry.register_with_unit(
            "read",
            "Bytes read from the tail of Kafka",
            Unit::Bytes,
            all.bytes.clone(),
        );
        registry.register(
            "evictions",
            "Batches evicted from windows at the memory limit",
            all.evictions.clone(),
        );
        all
    }
}

impl CatchUpMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let registry = registry.sub_registry_with_prefix("tailcast_push_catch_up");
        registry.register("pages_read", "Pages read from Kafka", all.pages_read.clone());
        registry.register_with_unit(
            "read",
            "Bytes of pages read from Kafka",
            Unit::Bytes,
            all.bytes_read.clone(),
        );
        registry.register("pages_shared", "Pages served from memory", all.pages_shared.clone());
        let help = "Time that readers paused because of the rate limit";
        registry.register_with_unit("paused", help, Unit::Seconds, all.paused_seconds.clone());
        registry.register("waiting", "Cursors waiting for a page", all.waiting.clone());
        registry.register_with_unit("pages", "Bytes held by pages", Unit::Bytes, all.memory.clone());
        all
    }
}
