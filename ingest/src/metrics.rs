//! What the way in counts and measures: `tailcast_ingest_…`.
//!
//! Invariant: no label comes from a client, except a topic's name once Kafka has said that the topic exists. Counters of a
//! topic are looked up once per batch, not per message.

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

/// Upper ends of the acknowledgement latency, in seconds: finer where a healthy Kafka answers, up to `message.timeout.ms`.
const LATENCY_SECONDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// All of it.
#[derive(Debug)]
pub(crate) struct Metrics {
    messages: Family<TopicOutcomeLabels, Counter>,
    bytes: Family<TopicLabel, Counter>,
    not_acknowledged: Family<OutcomeReasonLabels, Counter>,
    latency: Histogram,
    calls_refused: Family<ReasonLabel, Counter>,
    /// How many publish streams are open.
    pub(crate) streams: Gauge,
    /// How many responses told a stream's caller to wait.
    pub(crate) throttles: Counter,
    /// How many connections are open.
    pub(crate) connections: Gauge,
    /// Connections that were not accepted.
    pub(crate) accept: AcceptMetrics,
    /// What waits for Kafka.
    pub(crate) in_flight: InFlight,
    topics: RwLock<HashMap<TopicName, Arc<TopicMetrics>>>,
}

/// The counters of one topic, looked up once.
#[derive(Debug)]
pub(crate) struct TopicMetrics {
    acknowledged: Counter,
    refused: Counter,
    unknown: Counter,
    bytes: Counter,
}

/// What waits for Kafka's answer.
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
        registry.register("messages", "Messages by topic and how they ended", all.messages.clone());
        registry.register(
            "messages_not_acknowledged",
            "Messages that Kafka did not acknowledge, by how they ended and why",
            all.not_acknowledged.clone(),
        );
        registry.register(
            "acknowledged_bytes",
            "Key, value and headers of acknowledged messages",
            all.bytes.clone(),
        );
        registry.register_with_unit(
            "acknowledgement",
            "From enqueuing a message to Kafka's answer",
            Unit::Seconds,
            all.latency.clone(),
        );
        registry.register(
            "in_flight_messages",
            "Messages that wait for Kafka's answer",
            all.in_flight.messages.clone(),
        );
        registry.register(
            "in_flight_bytes",
            "What those messages hold of the bound",
            all.in_flight.bytes.clone(),
        );
        registry.register(
            "calls_refused",
            "Calls that ended with an error, by reason",
            all.calls_refused.clone(),
        );
        registry.register("streams", "Publish streams that are open", all.streams.clone());
        registry.register(
            "throttles",
            "Responses that told a stream's caller to wait",
            all.throttles.clone(),
        );
        registry.register("connections", "Connections that are open", all.connections.clone());
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

    /// The counters of a topic that exists.
    pub(crate) fn topic(&self, topic: &TopicName) -> Arc<TopicMetrics> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        known.unwrap_or_else(|| {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(topics.entry(topic.clone()).or_insert_with(|| Arc::new(self.topic_metrics(topic))))
        })
    }

    /// Counts a message that ended.
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

    /// Counts a call that ended with an error.
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
    /// Shows what is in flight.
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
