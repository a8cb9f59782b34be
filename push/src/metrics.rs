//! The figures of the push service, for Prometheus.
//!
//! Sessions count once per WebSocket message, not per delivery, into counters that are spread over the cores. What the
//! node has in memory and how far it is behind is read when Prometheus asks.
//!
//! Invariant: no label comes from a client. A topic is a label once Kafka has it.

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

/// What sessions count.
#[derive(Debug, Clone)]
pub(crate) struct SessionMetrics {
    pub(crate) sessions: Gauge,
    pub(crate) subscriptions: Gauge,
    /// Bytes that wait for sockets that take nothing.
    pub(crate) waiting: Gauge,
    /// How much memory the process may have and still take sessions in.
    pub(crate) memory_max: Gauge,
    pub(crate) deliveries: ShardedCounter,
    /// Records left out of conflated subscriptions for newer ones.
    pub(crate) conflated: ShardedCounter,
    pub(crate) bytes: ShardedCounter,
    pub(crate) messages: ShardedCounter,
    /// From the record's timestamp to the moment at which it is handed to the kernel, once for each WebSocket message.
    pub(crate) latency: Histogram,
    /// From the record's timestamp to the same moment, for records from before their subscription started.
    pub(crate) resumed: Histogram,
    pub(crate) closes: Family<[(&'static str, String); 1], Counter>,
    pub(crate) refused: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) command_errors: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) retention_losses: Counter,
}

/// What the feed counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedMetrics {
    pub(crate) records: ShardedCounter,
    pub(crate) bytes: ShardedCounter,
    pub(crate) evictions: Counter,
}

/// What the readers of catch-up count.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatchUpMetrics {
    pub(crate) pages_read: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) pages_shared: Counter,
    /// How long readers waited for the rate, together.
    pub(crate) paused_seconds: Counter<f64, AtomicU64>,
    pub(crate) waiting: Gauge,
    pub(crate) memory: Gauge,
}

/// Counts one in a gauge for as long as it lives, however that ends.
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
        // 1 ms to 16 s: below is the clock's error between hosts, above is catch-up.
        let latency = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        // 0.1 s to 5 days: what Kafka usually retains.
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
        registry.register("sessions", "Sessions that are open", all.sessions.clone());
        registry.register("subscriptions", "Subscriptions of all sessions", all.subscriptions.clone());
        let help = "Memory that the process may have and still take sessions in";
        registry.register_with_unit("memory_max", help, Unit::Bytes, all.memory_max.clone());
        let help = "Bytes that wait for sockets that take nothing";
        registry.register_with_unit("waiting", help, Unit::Bytes, all.waiting.clone());
        registry.register("deliveries", "Records handed to clients' sockets", all.deliveries.clone());
        registry.register(
            "conflated",
            "Records left out of conflated subscriptions for newer ones of their keys",
            all.conflated.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Bytes handed to clients' sockets",
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
        registry.register(
            "refused",
            "Connections that did not become sessions, by reason",
            all.refused.clone(),
        );
        registry.register(
            "command_errors",
            "Commands answered with an error, by code",
            all.command_errors.clone(),
        );
        registry.register(
            "retention_losses",
            "Ranges that Kafka's retention removed before a subscription had them",
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
        registry.register_with_unit("read", "Bytes of those records", Unit::Bytes, all.bytes.clone());
        registry.register(
            "evictions",
            "Batches of records dropped from windows because the node's budget was used up",
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
            "Bytes of records in those pages",
            Unit::Bytes,
            all.bytes_read.clone(),
        );
        registry.register(
            "pages_shared",
            "Pages served without reading Kafka again",
            all.pages_shared.clone(),
        );
        let help = "Time for which readers waited to keep to the rate";
        registry.register_with_unit("paused", help, Unit::Seconds, all.paused_seconds.clone());
        registry.register("waiting", "Cursors that wait for a page", all.waiting.clone());
        registry.register_with_unit("pages", "Bytes held by pages", Unit::Bytes, all.memory.clone());
        all
    }
}
