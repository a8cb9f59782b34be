//! The bare consumer: reads the records as they are published, and does nothing with them.
//!
//! The measured stretch is counted in records, so that it is the same number whatever the pace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::{cli::Time, companion::Companion, process, schedule::Schedule, shape::Shape, topic::Topic};

/// How long Kafka may take to answer, or to deliver the next record.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest poll, as of the node's feed.
const POLL: Duration = Duration::from_millis(100);

/// What reading cost, over the measured stretch.
#[derive(Debug, Clone)]
pub(crate) struct Consumed {
    pub(crate) records: u64,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

/// Has the records of a shape published, and reads them.
///
/// # Errors
///
/// When Kafka does not answer, or one record does not come.
pub(crate) fn measure(shape: &Shape, time: Time, kafka: &str, topic: Option<&str>) -> Result<Consumed> {
    let topic = Topic::take_or_create(kafka, topic)?;
    let schedule = Schedule::new(shape.rate, time.warmup, time.duration);
    let consumer = consumer(kafka)?;
    assign_at_end(&consumer, &topic.name)?;
    let producer = Companion::start(
        "produce",
        &[
            ("--brokers", kafka.to_owned()),
            ("--to", topic.name.clone()),
            ("--events", schedule.events().to_string()),
            ("--per-second", shape.rate.to_string()),
            ("--bytes", shape.payload.to_string()),
            ("--among", shape.keys.to_string()),
        ],
    )?;
    read(&consumer, schedule.before())?;
    let (start, before) = (Instant::now(), process::cpu()?);
    let records = schedule.events() - schedule.before();
    read(&consumer, records)?;
    let (took, cpu) = (start.elapsed(), process::cpu()?.saturating_sub(before));
    let published = producer.finish()?;
    ensure!(published == schedule.events(), "only {published} records were published");
    topic.leave()?;
    Ok(Consumed { records, took, cpu })
}

/// Makes the consumer, with those settings of a node's tail that decide how it reads (`services/src/kafka/property.rs`).
fn consumer(kafka: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "floor")
        .set("group.id", "floor")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "10")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", "32768")
        .set("queued.min.messages", "10000")
        .create()
        .context("the Kafka consumer cannot be made")
}

/// Assigns every partition at its present end, asked for first, so that nothing published from here on is missed.
fn assign_at_end(consumer: &BaseConsumer, topic: &str) -> Result<()> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).context("Kafka does not answer")?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    ensure!(!partitions.is_empty(), "Kafka has no topic {topic}");
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition.id(), PATIENCE)
            .with_context(|| format!("partition {} of {topic} does not tell its end", partition.id()))?;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&assignment).context("the partitions cannot be assigned")
}

fn read(consumer: &BaseConsumer, records: u64) -> Result<()> {
    let mut last = Instant::now();
    let mut read = 0;
    while read < records {
        match consumer.poll(POLL) {
            Some(record) => {
                let record = record.context("Kafka does not deliver")?;
                ensure!(record.payload().is_some(), "a record has no value: somebody else uses this topic");
                last = Instant::now();
                read += 1;
            }
            None => ensure!(last.elapsed() < PATIENCE, "{read} of {records} records came"),
        }
    }
    Ok(())
}
