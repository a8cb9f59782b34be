//! A bare consumer: with the settings of a node's tail, assigned at the end of a topic.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::BorrowedMessage,
    types::RDKafkaErrorCode,
};
use tailcast_services::kafka::Settings;

/// How long Kafka may take to answer, or to deliver the next record.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two requests to a partition without a leader.
const RETRY: Duration = Duration::from_millis(50);

/// The longest poll, the same as in a node's feed.
const POLL: Duration = Duration::from_millis(100);

/// A bare consumer.
pub(crate) struct Consumer(BaseConsumer);

impl Consumer {
    /// Creates a consumer with a client id.
    pub(crate) fn new(kafka: &str, name: &str) -> Result<Self> {
        config(kafka, name)?.create().map(Self).context("the Kafka consumer cannot be created")
    }

    /// Checks that Kafka answers. Blocks. Fails when it does not. A missing topic is not an error.
    pub(crate) fn reach(&self, topic: &str, within: Duration) -> Result<()> {
        // The error's source has the same text.
        self.0
            .fetch_metadata(Some(topic), within)
            .map(|_| ())
            .map_err(|error| anyhow!("Kafka does not answer: {error}"))
    }

    /// Assigns every partition at its current end, so that no later record is missed. Blocks.
    pub(crate) fn assign_at_end(&self, topic: &str, partitions: Option<i32>) -> Result<()> {
        let mut at_end = Vec::new();
        for partition in 0..partitions.map_or_else(|| self.partitions(topic), Ok)? {
            let end = self.end(topic, partition);
            at_end.push(end.with_context(|| format!("no end offset of partition {partition} of {topic}"))?);
        }
        self.assign(topic, at_end)
    }

    /// Assigns partitions at offsets, from partition 0 on.
    pub(crate) fn assign(&self, topic: &str, offsets: impl IntoIterator<Item = i64>) -> Result<()> {
        let mut assignment = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            assignment.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        self.0.incremental_assign(&assignment).context("the partitions cannot be assigned")
    }

    /// Returns the next record, or `None` after a timeout. Blocks.
    pub(crate) fn poll(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.0.poll(POLL)
    }

    /// Reads records and discards them. Blocks. Fails when one does not arrive in time, or has no
    /// value.
    pub(crate) fn read(&self, records: u64) -> Result<()> {
        let (mut read, mut idle_since) = (0, None);
        while read < records {
            match self.poll() {
                Some(record) => {
                    let record = record.context("Kafka returned an error")?;
                    let has_value = record.payload().is_some();
                    ensure!(has_value, "a record without a value: another producer uses the topic");
                    (read, idle_since) = (read + 1, None);
                }
                // The clock is read only when no record arrives, so that it does not add to the
                // cost of a record.
                None => {
                    let idle = idle_since.get_or_insert_with(Instant::now).elapsed();
                    ensure!(idle < TIMEOUT, "only {read} of {records} records arrived");
                }
            }
        }
        Ok(())
    }

    /// Returns the number of partitions of a topic. Blocks.
    pub(crate) fn partitions(&self, topic: &str) -> Result<i32> {
        let metadata = self.0.fetch_metadata(Some(topic), TIMEOUT).context("Kafka does not answer")?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        ensure!(partitions > 0, "Kafka has no topic {topic}");
        i32::try_from(partitions).context("the number of partitions fits in an i32")
    }

    /// Returns a partition's end; retries while a new topic has no leader.
    fn end(&self, topic: &str, partition: i32) -> Result<i64, KafkaError> {
        let start = Instant::now();
        loop {
            match self.0.fetch_watermarks(topic, partition, TIMEOUT) {
                Ok((_, end)) => return Ok(end),
                Err(error) if start.elapsed() < TIMEOUT && is_temporary(&error) => {
                    thread::park_timeout(RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the settings of a node's tail, without the statistics: only the node needs them, and
/// they cost CPU.
fn config(kafka: &str, name: &str) -> Result<ClientConfig> {
    let mut config = Settings::at(kafka).tail()?;
    config.set("client.id", name).set("statistics.interval.ms", "0");
    Ok(config)
}

/// Returns whether this error is temporary, while a leader is being elected.
fn is_temporary(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    let codes =
        [LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopic, UnknownTopicOrPartition];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rdkafka::mocking::MockCluster;

    use super::*;

    // An unreachable Kafka used to be detected only at the end of the schedule, after another
    // minute.
    #[test]
    fn a_kafka_that_does_not_answer_is_an_error_before_the_run() {
        let reach =
            |kafka: &str, ms| Consumer::new(kafka, "loadgen")?.reach("quotes", Duration::from_millis(ms));
        let kafka = MockCluster::new(1).expect("a broker");
        reach(&kafka.bootstrap_servers(), 5_000).expect("it answers, whatever topics it has");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let broker = listener.local_addr().expect("it is bound").to_string();
        let error = reach(&broker, 300).expect_err("nobody answers there").to_string();
        assert!(error.starts_with("Kafka does not answer: "), "{error}");
    }

    // The floor used to collect a node's statistics every second, which cost CPU.
    #[test]
    fn it_has_a_nodes_settings_without_statistics() {
        let node = Settings::at("k:1").tail().expect("it is an address");
        let bare = config("k:1", "bare").expect("it is one");
        assert_eq!(bare.get("fetch.wait.max.ms"), node.get("fetch.wait.max.ms"));
        assert_eq!(bare.get("statistics.interval.ms"), Some("0"));
    }

    // Half of the runs on a new topic failed, because no leader had been elected yet.
    #[test]
    fn a_missing_leader_is_retried_and_a_rejection_is_not() {
        assert!(is_temporary(&KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition)));
        assert!(!is_temporary(&KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }
}
