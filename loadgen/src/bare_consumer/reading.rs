//! How the bare consumer reads: with the settings of a node's tail, from where the topic ends.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

/// How long Kafka may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// When to ask again.
const AGAIN: Duration = Duration::from_millis(50);

/// Those settings of a node's tail that decide how it reads (`services/src/kafka/property.rs`), of which nothing else here knows:
/// `tests/scenarios/tidy.rs` holds the two together.
const SETTINGS: [(&str, &str); 13] = [
    ("client.id", "loadgen"),
    ("group.id", "loadgen"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("fetch.error.backoff.ms", "500"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "10"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "32768"),
    ("queued.min.messages", "10000"),
];

/// Makes the consumer. Kafka is asked when its partitions are.
pub(super) fn consumer(kafka: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    config.create().context("the Kafka consumer cannot be made")
}

/// Assigns every partition at its present end, asked for first, so that nothing published from here on is missed.
pub(super) fn assign_at_end(consumer: &BaseConsumer, topic: &str) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions(consumer, topic)? {
        let end = end(consumer, topic, partition)
            .with_context(|| format!("partition {partition} of {topic} does not tell its end"))?;
        assignment.add_partition_offset(topic, partition, Offset::Offset(end))?;
    }
    consumer.assign(&assignment).context("the partitions cannot be assigned")
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).context("Kafka does not answer")?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(partitions > 0, "Kafka has no topic {topic}");
    i32::try_from(partitions).context("partitions are counted in 31 bits")
}

/// Asks again while a topic that was created a moment ago has no leader that knows.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_without_a_leader_is_asked_again_and_a_refusal_is_not() {
        assert!(passes(&KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition)));
        assert!(!passes(&KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }
}
