//! The metrics of ingest: `tailcast_ingest_…`.
//!
//! Invariant: no label comes from a client, except the names of topics that exist in Kafka. The
//! counters of a topic are looked up once per batch, not per message.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tailcast_proto::TopicName;
use tailcast_services::listener::AcceptMetrics;

use crate::outcome::Outcome;

/// Upper bounds of the buckets for acknowledgement latency, in seconds: finer in the range of a
/// healthy Kafka, up to `message.timeout.ms`.
const LATENCY_SECONDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// All metrics of ingest.
#[derive(Debug)]
pub(crate) struct Metrics {
    messages: Family<TopicOutcomeLabels, Counter>,
    bytes: Family<TopicLabel, Counter>,
    not_acknowledged: Family<OutcomeReasonLabels, Counter>,
    latency: Histogram,
    calls_refused: Family<ReasonLabel, Counter>,
    /// Open publish streams.
    pub(crate) streams: Gauge,
    /// Responses that advised a stream's caller to pause.
    pub(crate) throttles: Counter,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Rejected and failed connections.
    pub(crate) accept: AcceptMetrics,
    /// Messages in flight.
    pub(crate) in_flight: InFlight,
    topics: RwLock<HashMap<TopicName, Arc<TopicMetrics>>>,
}

/// The counters of one topic.
#[derive(Debug)]
pub(crate) struct TopicMetrics {
    acknowledged: Counter,
    refused: Counter,
    unknown: Counter,
    bytes: Counter,
}

/// Gauges of the messages in flight.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    messages: Gauge,
    bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicOutcomeLabels {
    topic: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeReasonLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything with a registry that has the prefix `tailcast_ingest`.
    pub(crate) fn register(registry: &mut Registry) -> Arc<Self> {
        let all = Self::default();
        registry.register("messages", "Messages by topic and outcome", all.messages.clone());
        registry.register(
            "messages_not_acknowledged",
            "Messages that were not acknowledged, by outcome and reason",
            all.not_acknowledged.clone(),
        );
        registry.register(
            "acknowledged_bytes",
            "Size of acknowledged messages: keys, values and headers",
            all.bytes.clone(),
        );
        registry.register_with_unit(
            "acknowledgement",
            "Time from enqueuing a message to Kafka's acknowledgement",
            Unit::Seconds,
            all.latency.clone(),
        );
        registry.register(
            "in_flight_messages",
            "Messages in flight to Kafka",
            all.in_flight.messages.clone(),
        );
        registry.register(
            "in_flight_bytes",
            "Size of messages in flight to Kafka, as counted for ingest.in_flight_bytes_max",
            all.in_flight.bytes.clone(),
        );
        registry.register("calls_refused", "Calls that failed, by reason", all.calls_refused.clone());
        registry.register("streams", "Open publish streams", all.streams.clone());
        registry.register(
            "throttles",
            "Responses that advised the caller of a stream to pause",
            all.throttles.clone(),
        );
        registry.register("connections", "Open connections", all.connections.clone());
        registry.register(
            "connections_refused",
            "Connections closed because the connection limit was reached",
            all.accept.refused.clone(),
        );
        registry.register(
            "accept_errors",
            "Failed attempts to accept a connection, such as without a free file descriptor",
            all.accept.failed.clone(),
        );
        Arc::new(all)
    }

    /// Returns the counters of an existing topic.
    pub(crate) fn topic(&self, topic: &TopicName) -> Arc<TopicMetrics> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        known.unwrap_or_else(|| {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(topics.entry(topic.clone()).or_insert_with(|| Arc::new(self.topic_metrics(topic))))
        })
    }

    /// Counts the outcome of a message.
    pub(crate) fn ended(
        &self,
        topic: Option<&TopicMetrics>,
        outcome: &Outcome,
        bytes: usize,
        latency: Duration,
    ) {
        match outcome {
            Outcome::Acknowledged { .. } => {
                self.latency.observe(latency.as_secs_f64());
                if let Some(topic) = topic {
                    topic.acknowledged.inc();
                    topic.bytes.inc_by(bytes as u64);
                }
            }
            Outcome::Refused(cause) => {
                self.not_acknowledged("refused", cause.reason.name());
                if let Some(topic) = topic {
                    topic.refused.inc();
                }
            }
            Outcome::Unknown(cause) => {
                self.not_acknowledged("unknown", cause.reason.name());
                if let Some(topic) = topic {
                    topic.unknown.inc();
                }
            }
        }
    }

    /// Counts a failed call.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.calls_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    fn not_acknowledged(&self, outcome: &'static str, reason: &'static str) {
        self.not_acknowledged.get_or_create(&OutcomeReasonLabels { outcome, reason }).inc();
    }

    fn topic_metrics(&self, topic: &TopicName) -> TopicMetrics {
        let counter = |outcome| {
            self.messages.get_or_create_owned(&TopicOutcomeLabels { topic: topic.to_string(), outcome })
        };
        TopicMetrics {
            acknowledged: counter("acknowledged"),
            refused: counter("refused"),
            unknown: counter("unknown"),
            bytes: self.bytes.get_or_create_owned(&TopicLabel { topic: topic.to_string() }),
        }
    }
}

impl InFlight {
    /// Returns the number of messages in flight.
    pub(crate) fn messages(&self) -> usize {
        usize::try_from(self.messages.get()).unwrap_or_default()
    }

    /// Sets the gauges.
    pub(crate) fn set(&self, messages: usize, bytes: usize) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.messages.set(gauge(messages));
        self.bytes.set(gauge(bytes));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            messages: Family::default(),
            bytes: Family::default(),
            not_acknowledged: Family::default(),
            latency: Histogram::new(LATENCY_SECONDS),
            calls_refused: Family::default(),
            streams: Gauge::default(),
            throttles: Counter::default(),
            connections: Gauge::default(),
            accept: AcceptMetrics::default(),
            in_flight: InFlight::default(),
            topics: RwLock::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failure, FailureReason};

    #[test]
    fn messages_are_counted_by_topic_outcome_and_reason() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(registry.sub_registry_with_prefix("tailcast_ingest"));
        let topic = metrics.topic(&TopicName::parse("quotes").expect("a topic name"));
        let acknowledged = Outcome::of_acknowledgement(0, 0);
        metrics.ended(Some(&topic), &acknowledged, 12, Duration::from_millis(3));
        metrics.ended(
            None,
            &Outcome::Refused(Failure::new(FailureReason::UnknownTopic, "")),
            5,
            Duration::ZERO,
        );
        metrics.refused("IN_FLIGHT_BOUND");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics encode");
        for line in [
            "tailcast_ingest_messages_total{topic=\"quotes\",outcome=\"acknowledged\"} 1",
            "tailcast_ingest_acknowledged_bytes_total{topic=\"quotes\"} 12",
            "tailcast_ingest_acknowledgement_seconds_bucket{le=\"0.005\"} 1",
            "tailcast_ingest_messages_not_acknowledged_total{outcome=\"refused\",reason=\"UNKNOWN_TOPIC\"} 1",
            "tailcast_ingest_calls_refused_total{reason=\"IN_FLIGHT_BOUND\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}
