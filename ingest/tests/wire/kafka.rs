//! Reads topics with a consumer of the tests' own.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::OwnedMessage,
};
use tailcast_services::in_process::InProcess;

use crate::node::PATIENCE;

/// Reads the first records of a topic, from all of its partitions; fails the test when there are
/// fewer.
pub(crate) fn read(kafka: &InProcess, topic: &str, partitions: i32, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "tests")
        .set("fetch.wait.max.ms", "5")
        .create()
        .expect("the consumer is configured right");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("the beginning is an offset");
    }
    consumer.assign(&assignment).expect("it can be assigned");
    let give_up = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(Instant::now() < give_up, "{} of {count} records are in {topic}", records.len());
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(record)) => records.push(record.detach()),
            Some(Err(error)) => panic!("{topic} cannot be read: {error}"),
            None => {}
        }
    }
    records.sort_by_key(|record| (record.partition(), record.offset()));
    records
}
