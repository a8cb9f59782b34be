//! The one producer of this process.
//!
//! It is idempotent and waits for all in-sync replicas. `send` enqueues a record and returns at
//! once; a thread polls librdkafka's delivery reports and completes the messages.
//!
//! Invariants: the queue is larger than the in-flight limit, so the limit is reached first and a
//! full queue is the exception. The thread ends after the server and after the last report, so that
//! every message is completed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, Message, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
};
use tailcast_message_status::{MessageStatus, message_status};
use tailcast_services::{kafka::ClientLog, lifecycle::Lifecycle};

use crate::{
    budget::Cost,
    completion::PendingMessage,
    outcome::{Failure, FailureReason, Outcome},
    validation::Record,
};

/// The time that the thread waits for a report before it checks whether to end.
const REPORT_POLL: Duration = Duration::from_millis(100);

/// Poll interval for messages in flight while the node drains.
const FLUSH_POLL: Duration = Duration::from_millis(10);

/// Publishes records. Clones share it.
#[derive(Clone)]
pub(crate) struct Producer(Arc<ProducerState>);

/// Keeps the producer's thread running; dropped after the last send.
pub(crate) struct ProducerGuard(Producer);

/// Why the producer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// librdkafka rejected the configuration.
    #[error("cannot create the Kafka producer")]
    Configuration(#[source] KafkaError),
    /// The operating system refused the thread.
    #[error("cannot start the thread of the Kafka producer")]
    Thread(#[source] io::Error),
}

/// librdkafka has failed for good: it sends no more records, and the process must be restarted.
#[derive(Debug, thiserror::Error)]
#[error("fatal error of the Kafka producer: {reason} ({code:?})")]
pub(crate) struct Fatal {
    code: RDKafkaErrorCode,
    reason: String,
}

struct ProducerState {
    librdkafka: BaseProducer<DeliveryReports>,
    unused: AtomicBool,
    given_up: AtomicBool,
}

/// The callbacks of librdkafka.
struct DeliveryReports {
    log: ClientLog,
}

impl Producer {
    /// Creates the producer and starts its thread. It connects, and reconnects, in the background.
    pub(crate) fn start(
        lifecycle: &Lifecycle,
        mut config: ClientConfig,
        in_flight_max: Cost,
    ) -> Result<(Self, ProducerGuard), ProducerError> {
        // Twice the limit, because librdkafka counts a message until its whole report has been
        // handled.
        config.set("queue.buffering.max.messages", in_flight_max.messages.saturating_mul(2).to_string());
        config.set("queue.buffering.max.kbytes", (in_flight_max.bytes / 1_024).saturating_mul(2).to_string());
        let reports = DeliveryReports { log: ClientLog::new("producer") };
        let librdkafka =
            BaseProducer::from_config_and_context(&config, reports).map_err(ProducerError::Configuration)?;
        let (unused, given_up) = (AtomicBool::new(false), AtomicBool::new(false));
        let producer = Self(Arc::new(ProducerState { librdkafka, unused, given_up }));
        let (thread, life) = (producer.clone(), lifecycle.clone());
        lifecycle
            .supervise_thread("ingest.producer", move || thread.run(&life))
            .map_err(ProducerError::Thread)?;
        Ok((producer.clone(), ProducerGuard(producer)))
    }

    /// Enqueues a record. Its message is completed later, or at once with the returned failure if
    /// the record is not accepted.
    pub(crate) fn send(&self, record: &Record, pending: PendingMessage) -> Result<(), Failure> {
        let base = BaseRecord {
            topic: record.topic.as_str(),
            partition: None,
            payload: record.value.as_deref(),
            key: record.key.as_ref().map(|key| key.as_bytes().as_ref()),
            timestamp: record.timestamp_ms,
            headers: headers(record),
            delivery_opaque: Box::new(pending),
        };
        let base: BaseRecord<'_, [u8], [u8], Box<PendingMessage>> = base;
        self.0.librdkafka.send(base).map_err(|(error, base)| {
            let code = error.rdkafka_error_code();
            let cause = code.map_or_else(
                || Failure::new(FailureReason::KafkaError, error.to_string()),
                Failure::of_kafka,
            );
            // The record was not enqueued, so it cannot appear, whatever the error.
            base.delivery_opaque.complete(Outcome::Refused(cause.clone()));
            cause
        })
    }

    /// Completes all messages in flight, and soon afterwards those enqueued later. Messages never
    /// sent end refused, the others unknown.
    pub(crate) fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Release);
        self.purge();
    }

    fn purge(&self) {
        self.0.librdkafka.purge(PurgeConfig::default().queue().inflight());
    }

    /// Waits until nothing is in flight. Cancel safe.
    pub(crate) async fn flushed(&self) {
        let mut polls = tokio::time::interval(FLUSH_POLL);
        while self.0.librdkafka.in_flight_count() > 0 {
            polls.tick().await;
        }
    }

    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Fatal> {
        let librdkafka = &self.0.librdkafka;
        let mut fatal = None;
        while !self.0.unused.load(Ordering::Acquire) || librdkafka.in_flight_count() > 0 {
            librdkafka.poll(REPORT_POLL);
            if self.0.given_up.load(Ordering::Acquire) {
                // A call may still have been looking up its topic, and only now have enqueued its
                // messages.
                self.purge();
            }
            if fatal.is_none() {
                fatal = self.fatal();
                if fatal.is_some() {
                    // Calls still wait for reports, so the thread keeps running until they have
                    // them.
                    lifecycle.drain();
                }
            }
        }
        fatal.or_else(|| self.fatal()).map_or(Ok(()), Err)
    }

    fn fatal(&self) -> Option<Fatal> {
        let error = self.0.librdkafka.client().fatal_error();
        error.map(|(code, reason)| Fatal { code, reason })
    }
}

/// The record's headers in librdkafka's form; `None` if there are none.
fn headers(record: &Record) -> Option<OwnedHeaders> {
    let add = |headers: OwnedHeaders, (key, value): &(String, Option<Bytes>)| {
        headers.insert(Header { key, value: value.as_deref() })
    };
    let empty = || OwnedHeaders::new_with_capacity(record.headers.len());
    (!record.headers.is_empty()).then(|| record.headers.iter().fold(empty(), add))
}

impl Drop for ProducerGuard {
    fn drop(&mut self) {
        self.0.0.unused.store(true, Ordering::Release);
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Box<PendingMessage>;

    fn delivery(&self, report: &DeliveryResult<'_>, pending: Box<PendingMessage>) {
        pending.complete(match report {
            Ok(message) => Outcome::of_acknowledgement(message.partition(), message.offset()),
            Err((error, message)) => match error.rdkafka_error_code() {
                Some(code) => Outcome::of_failure(code, message_status(message)),
                None => Outcome::of_failure(RDKafkaErrorCode::Unknown, MessageStatus::PossiblyPersisted),
            },
        });
    }
}

impl ClientContext for DeliveryReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(&error, reason);
    }
}

#[cfg(test)]
mod tests {
    use tailcast_proto::TopicName;
    use tailcast_services::in_process::InProcess;

    use super::*;
    use crate::{
        budget::InFlightBudget,
        completion::{CompletedMessage, Completions, PendingBatch},
        metrics::InFlight,
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_sent_after_giving_up_is_refused_at_once() {
        // The message, and the producer's thread, waited for message.timeout.ms, 30 s: longer than
        // drain.within.
        let kafka = InProcess::start(1).expect("the in-process broker starts");
        let topic = TopicName::parse("quotes").expect("a topic name");
        kafka.create_topic(&topic, 1).expect("the topic is new");
        kafka.broker_down(None).expect("the broker lives");
        let (lifecycle, bound) = (Lifecycle::new(), Cost { messages: 10, bytes: 10_000 });
        let config = kafka.settings().producer().expect("the settings are valid");
        let (producer, producer_guard) = Producer::start(&lifecycle, config, bound).expect("it starts");
        let permit =
            InFlightBudget::new(bound, InFlight::default()).take(Cost::of_message(0)).expect("there is room");
        let completions = Completions::of_call(1);
        let batch = PendingBatch::new(Arc::clone(&completions), Arc::default(), Vec::new(), permit);

        producer.give_up();
        let record =
            Record { topic, key: None, value: None, headers: Vec::new(), timestamp_ms: None, bytes: 0 };
        producer.send(&record, batch.message(Some(0), 0, 0)).expect("it is enqueued");
        drop(producer_guard);

        let ending = lifecycle.finish(Duration::from_secs(20)).await;
        assert!(ending.is_clean(), "{ending}");
        let ended = completions.take();
        assert!(
            matches!(ended.as_slice(), [CompletedMessage { outcome: Outcome::Refused(_), .. }]),
            "{ended:?}"
        );
    }
}
