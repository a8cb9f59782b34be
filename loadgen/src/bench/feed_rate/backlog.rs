//! The backlog: published once, as fast as Kafka accepts it, and read in every round.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tailcast_proto::Offset;
use tailcast_push::benchmarks::tail_config;

use super::flags::Backlog;
use crate::kafka::Producer;

/// How long Kafka may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes the records. Batches are as large as those of a busy ingest.
pub(crate) fn publish(kafka: &str, topic: &str, backlog: Backlog) -> Result<()> {
    let producer = Producer::new(kafka, "feed-rate")?;
    let value = vec![b'x'; usize::try_from(backlog.payload).context("a value fits in memory")?];
    let keys: Vec<_> = (0..backlog.keys).map(|number| format!("key-{number}")).collect();
    let records = usize::try_from(backlog.records).context("a record has a number")?;
    for key in keys.iter().cycle().take(records) {
        producer.send(topic, key.as_bytes(), &value)?;
    }
    let published = producer.finish()?;
    ensure!(published == backlog.records, "{published} of {records} records were acknowledged");
    Ok(())
}

/// Returns the first and the next offset of every partition of a topic. Fails when Kafka does not
/// answer, or has a different number of records.
pub(crate) fn extents(
    kafka: &str,
    topic: &str,
    partitions: i32,
    records: u64,
) -> Result<Vec<(Offset, Offset)>> {
    let consumer: BaseConsumer =
        tail_config(kafka)?.create().context("the Kafka consumer cannot be created")?;
    let extent = |partition| {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, TIMEOUT)
            .with_context(|| format!("no offsets of partition {partition} of {topic}"))?;
        Offset::new(low).zip(Offset::new(high)).context("Kafka has no negative offsets")
    };
    let extents = (0..partitions).map(extent).collect::<Result<Vec<_>>>()?;
    let found: u64 = extents.iter().map(|(low, high)| high.since(*low)).sum();
    ensure!(found == records, "{topic} has {found} records instead of {records}");
    Ok(extents)
}
