//! A topic of one scenario, read and written without Tailcast.
//!
//! Scenarios check the contents of Kafka with a plain Kafka client and with its own settings, so
//! that a wrong setting of the services is detected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset as RawOffset};
use tailcast_proto::{Channel, Key, Keys, Offset, PartitionId, Position, TopicName, partition_of_key};

use crate::deadline::{PATIENCE, eventually};
use crate::plain_client::{admin, plain_client};
pub use crate::record::Record;

/// A topic of a single scenario.
#[derive(Clone)]
pub struct Topic {
    name: TopicName,
    partitions: u32,
    /// `bootstrap.servers` of the Kafka that has it.
    bootstrap: String,
}

impl Topic {
    pub(crate) fn new(name: TopicName, partitions: u32, bootstrap: String) -> Self {
        Self { name, partitions, bootstrap }
    }

    /// Returns its name.
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Returns its number of partitions.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Returns the text form of the channel of one key.
    pub fn channel(&self, key: &str) -> String {
        self.text(Keys::Exact(parse_key(key)))
    }

    /// Returns the text form of the channel of all keys with a prefix.
    pub fn prefix(&self, prefix: &str) -> String {
        self.text(Keys::Prefix(parse_key(prefix)))
    }

    /// Returns the text form of the channel of every key.
    pub fn all(&self) -> String {
        self.text(Keys::All)
    }

    fn text(&self, keys: Keys) -> String {
        Channel { topic: self.name.clone(), keys }.to_string()
    }

    /// Returns the partition of a key.
    pub fn partition_of(&self, key: &str) -> PartitionId {
        partition_of_key(key.as_bytes(), self.partitions)
    }

    /// Returns a partition that a key would not have with any smaller number of partitions either.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn partition_never_of(&self, key: &str) -> PartitionId {
        let was_own = |id| (1..=self.partitions).any(|count| partition_of_key(key.as_bytes(), count) == id);
        let never = (0..self.partitions).map(PartitionId::new).find(|id| !was_own(*id));
        never.unwrap_or_else(|| panic!("{key} could have been in any of {} partitions", self.partitions))
    }

    /// Returns the position at `offset` of the partition of a key, without an epoch.
    pub fn at(&self, key: &str, offset: i64) -> Position {
        let offset = Offset::new(offset).expect("an offset is 0 or more");
        Position { offsets: BTreeMap::from([(self.partition_of(key), offset)]), ..Position::default() }
    }

    /// Appends records to Kafka in order, without ingest, and waits until they are acknowledged.
    ///
    /// # Panics
    ///
    /// When one is not acknowledged.
    pub async fn append<K, V>(&self, records: impl IntoIterator<Item = (K, V)>)
    where
        K: AsRef<str>,
        V: ToString,
    {
        self.append_where(None, records).await;
    }

    /// Appends records to one partition regardless of their keys, like a producer that does not
    /// know the others.
    ///
    /// # Panics
    ///
    /// When one is not acknowledged.
    pub async fn append_to<K, V>(&self, partition: PartitionId, records: impl IntoIterator<Item = (K, V)>)
    where
        K: AsRef<str>,
        V: ToString,
    {
        self.append_where(Some(partition), records).await;
    }

    async fn append_where<K, V>(
        &self,
        partition: Option<PartitionId>,
        records: impl IntoIterator<Item = (K, V)>,
    ) where
        K: AsRef<str>,
        V: ToString,
    {
        let producer: FutureProducer = self.client().create().expect("a producer starts");
        let mut deliveries = Vec::new();
        for (key, value) in records {
            let (key, value) = (key.as_ref(), value.to_string());
            let record = FutureRecord::to(self.name.as_ref()).key(key).payload(&value);
            let record = FutureRecord { partition: partition.map(PartitionId::kafka), ..record };
            let delivery = producer.send_result(record).map_err(|(error, _)| error);
            deliveries.push(delivery.expect("the producer's queue has room"));
        }
        for delivery in deliveries {
            delivery
                .await
                .expect("the producer lives")
                .map_err(|(error, _)| error)
                .expect("Kafka acknowledges it");
        }
    }

    /// Reads all records from Kafka, partition by partition.
    ///
    /// # Panics
    ///
    /// When Kafka cannot be read.
    pub fn records(&self) -> Vec<Record> {
        tokio::task::block_in_place(|| {
            let consumer: BaseConsumer = self.client().create().expect("a consumer starts");
            (0..self.partitions)
                .flat_map(|partition| self.read(&consumer, PartitionId::new(partition)))
                .collect()
        })
    }

    fn read(&self, consumer: &BaseConsumer, partition: PartitionId) -> Vec<Record> {
        let (low, high) = watermarks(consumer, &self.name, partition).expect("Kafka returns its watermarks");
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(self.name.as_ref(), partition.kafka(), RawOffset::Offset(low))
            .expect("an offset is assigned");
        consumer.assign(&assignment).expect("a partition is assigned");

        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        let mut next = low;
        let mut last_error = None;
        while next < high {
            let read_so_far = format_args!("{}/{partition}: {next} of {high}", self.name);
            assert!(Instant::now() < deadline, "{read_so_far}; last error: {last_error:?}");
            let message = match consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) => message,
                // One of several brokers may be down; another one has its records.
                Some(Err(error)) => {
                    last_error = Some(error);
                    continue;
                }
            };
            next = message.offset() + 1;
            records.push(Record {
                partition,
                offset: Offset::new(message.offset()).expect("a record has an offset"),
                key: message.key().map(Bytes::copy_from_slice),
                value: message.payload().map(Bytes::copy_from_slice),
            });
        }
        records
    }

    /// Returns the first offset of a partition and the offset of its next record.
    ///
    /// # Panics
    ///
    /// When Kafka does not answer.
    pub fn watermarks(&self, partition: PartitionId) -> (i64, i64) {
        tokio::task::block_in_place(|| {
            let consumer: BaseConsumer = self.client().create().expect("a consumer starts");
            watermarks(&consumer, &self.name, partition).expect("Kafka returns its watermarks")
        })
    }

    /// Returns whether the topic exists. Requests all topics, because a request for one may create
    /// it.
    ///
    /// # Panics
    ///
    /// When Kafka does not answer.
    pub fn exists(&self) -> bool {
        let consumer: BaseConsumer = self.client().create().expect("a consumer starts");
        let metadata = tokio::task::block_in_place(|| consumer.fetch_metadata(None, PATIENCE));
        let metadata = metadata.expect("Kafka returns its metadata");
        metadata.topics().iter().any(|topic| topic.name() == self.name.as_ref())
    }

    /// Waits until every partition can be read and written: Kafka announces a leader before the
    /// leader is ready.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn available(&self) {
        let consumer: BaseConsumer = self.client().create().expect("a consumer starts");
        let look = async || {
            tokio::task::block_in_place(|| {
                let mut partitions = (0..self.partitions).map(PartitionId::new);
                partitions.try_for_each(|partition| watermarks(&consumer, &self.name, partition).map(drop))
            })
        };
        let available = eventually(format_args!("{} is available", self.name), look, Result::is_ok).await;
        available.expect("the condition was checked");
    }

    /// Deletes the records of a partition before `offset`, as retention does. Apache Kafka only.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn delete_records_before(&self, partition: PartitionId, offset: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(self.name.as_ref(), partition.kafka(), RawOffset::Offset(offset))
            .expect("an offset is named");
        let forgotten = admin(&self.bootstrap).delete_records(&offsets, &AdminOptions::new()).await;
        let forgotten = forgotten.expect("Kafka deletes records");
        for partition in forgotten.elements() {
            partition.error().expect("Kafka deletes the records of the partition");
        }
    }

    /// Adds partitions, up to this number. Apache Kafka only.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn grow(&mut self, partitions: u32) {
        let count = usize::try_from(partitions).expect("a scenario has few partitions");
        let new = NewPartitions::new(self.name.as_ref(), count);
        let grown = admin(&self.bootstrap).create_partitions([&new], &AdminOptions::new()).await;
        for topic in grown.expect("Kafka answers") {
            topic.map_err(|(_, error)| error).expect("Kafka adds partitions");
        }
        self.partitions = partitions;
        self.available().await;
    }

    /// Deletes the topic. Apache Kafka only.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn delete(&self) {
        let deleted = admin(&self.bootstrap).delete_topics(&[self.name.as_ref()], &AdminOptions::new()).await;
        for topic in deleted.expect("Kafka answers") {
            topic.map_err(|(_, error)| error).expect("Kafka deletes the topic");
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = plain_client(&self.bootstrap);
        config
            .set("group.id", "scenario")
            .set("enable.auto.commit", "false")
            // By default the in-process broker creates a topic on request.
            .set("allow.auto.create.topics", "false")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "200000")
            .set("fetch.wait.max.ms", "10");
        config
    }
}

fn watermarks(consumer: &BaseConsumer, topic: &TopicName, partition: PartitionId) -> KafkaResult<(i64, i64)> {
    consumer.fetch_watermarks(topic.as_ref(), partition.kafka(), PATIENCE)
}

fn parse_key(key: &str) -> Key {
    Key::new(Bytes::copy_from_slice(key.as_bytes())).expect("a scenario's keys are valid")
}
