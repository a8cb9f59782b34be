//! What there is to read: published once, as fast as Kafka takes it, and read in every round.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, ClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};
use tailcast_proto::Offset;
use tailcast_push::benchmarks::tail_config;

use super::cli::Backlog;

/// How long Kafka may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for answers when the producer's queue is full.
const FULL: Duration = Duration::from_millis(2);

/// Counts what Kafka acknowledged.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_ok()), Relaxed);
    }
}

/// Publishes the records. Batches are as large as ingest's are when it has as much to do.
///
/// # Errors
///
/// When one is not acknowledged.
pub(super) fn publish(kafka: &str, topic: &str, backlog: Backlog) -> Result<()> {
    let producer: BaseProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "feed-rate")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        .create_with_context(Acknowledged::default())
        .context("the Kafka producer cannot be made")?;
    let value = vec![b'x'; usize::try_from(backlog.payload).context("a value fits in memory")?];
    let keys: Vec<_> = (0..backlog.keys).map(|number| format!("key-{number}")).collect();
    let records = usize::try_from(backlog.records).context("a record has a number")?;
    for key in keys.iter().cycle().take(records) {
        let mut record = BaseRecord::to(topic).key(key).payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            ensure!(is_full, "Kafka's client does not take a record: {error}");
            record = refused;
            producer.poll(FULL);
        }
    }
    producer.flush(PATIENCE).context("Kafka did not answer for all records")?;
    let published = producer.context().0.load(Relaxed);
    ensure!(published == backlog.records, "{published} of {records} records were acknowledged");
    Ok(())
}

/// Asks Kafka from where to where the partitions of a topic go.
///
/// # Errors
///
/// When Kafka does not answer, or has another number of records.
pub(super) fn extents(
    kafka: &str,
    topic: &str,
    partitions: i32,
    records: u64,
) -> Result<Vec<(Offset, Offset)>> {
    let consumer: BaseConsumer = tail_config(kafka)?.create().context("the Kafka consumer cannot be made")?;
    let extent = |partition| {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .with_context(|| format!("partition {partition} of {topic} does not tell its end"))?;
        Offset::new(low).zip(Offset::new(high)).context("Kafka tells offsets")
    };
    let extents = (0..partitions).map(extent).collect::<Result<Vec<_>>>()?;
    let found: u64 = extents.iter().map(|(low, high)| high.since(*low)).sum();
    ensure!(found == records, "{topic} has {found} records and not {records}");
    Ok(extents)
}
