//! The publishing process: records of one size at a fixed rate. Says at the end how many Kafka acknowledged.

use std::{
    io::{self, Write as _},
    os::unix::process::parent_id,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, ClientContext,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::cli::Produce;
use crate::bench::schedule::{Schedule, Step};

/// How long Kafka may take to acknowledge what is in flight at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for answers when the queue is full.
const FULL: Duration = Duration::from_millis(2);

/// Counts what Kafka acknowledged.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Publishes all events, late ones too.
pub(crate) fn run(produce: &Produce) -> Result<()> {
    ensure!(produce.among > 0, "there is at least one key");
    let producer: BaseProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", &produce.brokers)
        .set("client.id", "floor")
        // As ingest does (`services/src/kafka/property.rs`), so that the records come in batches of the same size.
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        .create_with_context(Acknowledged::default())
        .context("the Kafka producer cannot be made")?;
    let schedule = Schedule::new(produce.per_second, Duration::ZERO, Duration::MAX);
    let value = vec![b'x'; usize::try_from(produce.bytes).context("a value fits in memory")?];
    let start = Instant::now();
    let (parent, mut sent) = (parent_id(), 0);
    while sent < produce.events {
        // It was killed, and cannot end this process any more.
        ensure!(parent_id() == parent, "nobody reads what is published");
        match schedule.step(sent, start.elapsed()) {
            Step::Send(_) => {
                send(&producer, &produce.to, &format!("key-{}", sent % u64::from(produce.among)), &value)?;
                sent += 1;
                // Takes the answers that are there.
                producer.poll(Duration::ZERO);
            }
            Step::Wait(wait) => {
                producer.poll(wait);
            }
            Step::End => break,
        }
    }
    producer.flush(PATIENCE).context("Kafka did not answer for all records")?;
    writeln!(io::stdout(), "{}", producer.context().0.load(Ordering::Relaxed)).context("nobody listens")
}

fn send(producer: &BaseProducer<Acknowledged>, topic: &str, key: &str, value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    while let Err((error, refused)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error).context("Kafka's client does not take a record");
        }
        record = refused;
        producer.poll(FULL);
    }
    Ok(())
}
