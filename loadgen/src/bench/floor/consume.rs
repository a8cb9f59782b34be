//! The bare consumer: reads the records as they are published, and does nothing with them.
//!
//! The measured stretch is counted in records, so that it is the same number whatever the pace.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tailcast_services::kafka::Settings;

use super::cli::Time;
use crate::{
    bench::{companion::Companion, schedule::Schedule, shape::Shape, topic::Topic},
    process,
};

/// How long Kafka may take to answer, or to deliver the next record.
const PATIENCE: Duration = Duration::from_secs(10);

/// When to ask again.
const AGAIN: Duration = Duration::from_millis(50);

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
    assign_at_end(&consumer, &topic)?;
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
    let (start, before) = (Instant::now(), process::own_cpu()?);
    let records = schedule.events() - schedule.before();
    read(&consumer, records)?;
    let (took, cpu) = (start.elapsed(), process::own_cpu()?.saturating_sub(before));
    let published = producer.finish()?;
    ensure!(published == schedule.events(), "only {published} records were published");
    topic.leave()?;
    Ok(Consumed { records, took, cpu })
}

/// Makes the consumer.
fn consumer(kafka: &str) -> Result<BaseConsumer> {
    config(kafka)?.create().context("the Kafka consumer cannot be made")
}

/// Returns the settings of a node's tail, without the statistics: nobody here needs them, and they cost CPU.
fn config(kafka: &str) -> Result<ClientConfig> {
    let mut config = Settings::at(kafka).tail()?;
    config.set("client.id", "floor").set("statistics.interval.ms", "0");
    Ok(config)
}

/// Assigns every partition at its present end, asked for first, so that nothing published from here on is missed.
fn assign_at_end(consumer: &BaseConsumer, topic: &Topic) -> Result<()> {
    let name = &topic.name;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..topic.partitions.map_or_else(|| partitions(consumer, name), Ok)? {
        let end = end(consumer, name, partition)
            .with_context(|| format!("partition {partition} of {name} does not tell its end"))?;
        assignment.add_partition_offset(name, partition, Offset::Offset(end))?;
    }
    consumer.assign(&assignment).context("the partitions cannot be assigned")
}

/// Asks how many partitions a topic has.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).context("Kafka does not answer")?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(partitions > 0, "Kafka has no topic {topic}");
    i32::try_from(partitions).context("partitions are counted in 31 bits")
}

/// Asks for a partition's end, again while a topic that was created a moment ago has no leader that knows.
fn end(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<i64, KafkaError> {
    let start = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok((_, end)) => return Ok(end),
            Err(error) if start.elapsed() < PATIENCE && passes(&error) => thread::park_timeout(AGAIN),
            Err(error) => return Err(error),
        }
    }
}

/// Whether this is what Kafka says of a partition that is about to be led.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    let codes =
        [LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopic, UnknownTopicOrPartition];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
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

#[cfg(test)]
mod tests {
    use super::*;

    // The floor gathered the node's statistics every second, and was the dearer for it.
    #[test]
    fn it_reads_as_a_node_does_and_gathers_no_statistics() {
        let (node, bare) =
            (Settings::at("k:1").tail().expect("it is an address"), config("k:1").expect("it too"));
        assert_eq!(bare.get("fetch.wait.max.ms"), node.get("fetch.wait.max.ms"));
        assert_eq!(bare.get("statistics.interval.ms"), Some("0"));
    }

    #[test]
    fn a_partition_without_a_leader_is_asked_again_and_a_refusal_is_not() {
        // A run on a topic of its own failed half of the time: Kafka had created it, and no leader knew.
        assert!(passes(&KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition)));
        assert!(!passes(&KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }
}
