//! The bare producer: this process publishes the events itself, with ingest's settings and nothing else to do.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientContext,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tailcast_services::kafka::Settings;

use super::{events::Written, rounds::Cost};
use crate::process;

/// How long Kafka may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to take answers when as much is in flight as may be.
const FULL: Duration = Duration::from_millis(1);

/// Counts Kafka's answers.
#[derive(Default)]
struct Answers {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }
}

impl Answers {
    fn count(&self) -> u64 {
        self.acknowledged.load(Relaxed) + self.failed.load(Relaxed)
    }
}

/// Publishes `count` events with at most `in_flight` unanswered. What the connection costs is not counted: it is there before.
///
/// # Errors
///
/// When one event is not acknowledged.
pub(super) fn measure(
    kafka: &str,
    topic: &str,
    events: &Written,
    count: u64,
    in_flight: u64,
) -> Result<Cost> {
    let producer = producer(kafka)?;
    publish(&producer, topic, events, 1, in_flight)?;
    let (start, before) = (Instant::now(), process::own_cpu()?);
    publish(&producer, topic, events, count, in_flight)?;
    let (took, cpu) = (start.elapsed(), process::own_cpu()?.saturating_sub(before));
    Ok(Cost { events: count, took, cpu })
}

/// Makes the producer, with the settings of ingest's.
fn producer(kafka: &str) -> Result<BaseProducer<Answers>> {
    let mut settings = Settings::at(kafka).producer()?;
    settings.set("client.id", "ingest-cost");
    // As ingest makes it of ingest.in_flight_messages_max.
    settings.set("queue.buffering.max.messages", "200000");
    settings.create_with_context(Answers::default()).context("the Kafka producer cannot be made")
}

fn publish(
    producer: &BaseProducer<Answers>,
    topic: &str,
    events: &Written,
    count: u64,
    in_flight: u64,
) -> Result<()> {
    let answers = producer.context();
    let before = answers.count();
    for number in 0..count {
        let mut last = (answers.count(), Instant::now());
        while number - (answers.count() - before) >= in_flight {
            producer.poll(FULL);
            if answers.count() > last.0 {
                last = (answers.count(), Instant::now());
            }
            ensure!(last.1.elapsed() < PATIENCE, "Kafka does not answer the bare producer");
        }
        let record = BaseRecord::to(topic).key(events.key(number).as_ref()).payload(events.value().as_ref());
        let sent = producer.send(record).map_err(|(error, _)| error);
        sent.context("the bare producer does not take an event")?;
    }
    producer.flush(PATIENCE).context("Kafka does not answer the bare producer")?;
    let failed = answers.failed.load(Relaxed);
    ensure!(failed == 0, "{failed} events of the bare producer were not acknowledged");
    let answered = answers.count() - before;
    ensure!(answered == count, "{answered} of {count} events of the bare producer were acknowledged");
    Ok(())
}
