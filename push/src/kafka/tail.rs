//! The tail consumer: which partitions it has, and what it says about Kafka's ends.
//!
//! Partitions are assigned by hand, never through a consumer group: there is no rebalance in the delivery path.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rdkafka::{
    ClientConfig, Offset as KafkaOffset, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tailcast_proto::{Offset, PartitionId, TopicName};
use tailcast_services::kafka::Context;

use crate::{clock::wall_clock_ms, partition::Partition};

/// The tail consumer and its partitions.
pub(crate) struct Tail {
    consumer: BaseConsumer<Context>,
    /// Held while the consumer and `assigned` are changed together: librdkafka knows partitions by name, and a partition
    /// may be another one with the name of one that was released.
    changes: Mutex<()>,
    /// The topics whose metadata the consumer has been given, and how many partitions they had then.
    partition_counts: Mutex<HashMap<TopicName, usize>>,
    /// Partitions that are to be read again from their head. The feed does it, when it has nothing in hand: what it had of
    /// the partition would be appended over a gap.
    rereads: Mutex<Vec<Arc<Partition>>>,
    assignment: Arc<Assignment>,
}

/// The partitions of the tail consumer, found by what a record says.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    topics: RwLock<HashMap<TopicName, HashMap<i32, Arc<Partition>>>>,
    /// Counts changes, so that who remembers a partition knows when to look again.
    changes: AtomicU64,
}

/// librdkafka did not take a partition.
#[derive(Debug, thiserror::Error)]
#[error("the partition cannot be assigned: {0}")]
pub(crate) struct AssignError(#[from] KafkaError);

impl Tail {
    /// How long Kafka may take to tell of a topic.
    const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

    /// Makes the consumer.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration.
    pub(crate) fn new(config: &ClientConfig) -> Result<Arc<Self>, KafkaError> {
        let assignment = Arc::new(Assignment::default());
        let context = Context::new("tail").with_statistics({
            let assignment = Arc::clone(&assignment);
            move |statistics| assignment.update_high_watermarks(&statistics)
        });
        let consumer = config.create_with_context(context)?;
        Ok(Arc::new(Self {
            consumer,
            changes: Mutex::new(()),
            partition_counts: Mutex::default(),
            rereads: Mutex::default(),
            assignment,
        }))
    }

    pub(crate) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Makes the consumer know a partition before it is assigned: until the first record it would otherwise take half a second
    /// for a topic that it does not know, and ten for a partition that was added to one. Blocks while Kafka answers.
    pub(crate) fn load_metadata(&self, topic: &TopicName, partition: PartitionId) -> Result<(), KafkaError> {
        let is_known = |count: &usize| usize::try_from(partition.get()).is_ok_and(|id| id < *count);
        if self.partition_counts.lock().get(topic).is_some_and(is_known) {
            return Ok(());
        }
        let metadata = self.consumer.fetch_metadata(Some(topic.as_str()), Self::METADATA_TIMEOUT)?;
        let count = metadata.topics().iter().map(|topic| topic.partitions().len()).max().unwrap_or(0);
        self.partition_counts.lock().insert(topic.clone(), count);
        Ok(())
    }

    /// Tails a partition from its head on. Takes some 100 µs, and does not disturb the other partitions.
    pub(crate) fn assign(&self, partition: &Arc<Partition>) -> Result<(), AssignError> {
        self.add(partition, &self.changes.lock())
    }

    /// Stops tailing a partition. Does nothing when it is not tailed, also when another one of its name is.
    pub(crate) fn release(&self, partition: &Arc<Partition>) {
        self.remove(partition, &self.changes.lock());
    }

    /// Asks the feed to read a partition again from its head on.
    pub(crate) fn request_reread(&self, partition: &Arc<Partition>) {
        let mut rereads = self.rereads.lock();
        if !rereads.iter().any(|asked| Arc::ptr_eq(asked, partition)) {
            rereads.push(Arc::clone(partition));
        }
    }

    /// Reads those partitions again that this was asked for. Called by the feed, when it has nothing in hand.
    pub(crate) fn apply_rereads(&self) {
        for partition in std::mem::take(&mut *self.rereads.lock()) {
            partition.discard_held();
            if let Err(error) = self.assign_again(&partition) {
                // The partition does not move, and its lag shows it.
                tracing::error!(topic = %partition.topic, partition = %partition.id, %error, "not tailed again");
            }
        }
    }

    /// Assigns a partition at its head whether or not it is tailed, unless nobody wants it any more.
    fn assign_again(&self, partition: &Arc<Partition>) -> Result<(), AssignError> {
        let changes = self.changes.lock();
        // Under the lock, which a release takes after it has said so.
        if partition.is_retired() {
            return Ok(());
        }
        self.remove(partition, &changes);
        self.add(partition, &changes)
    }

    fn add(&self, partition: &Arc<Partition>, _changes: &MutexGuard<'_, ()>) -> Result<(), AssignError> {
        self.assignment.insert(partition);
        self.assign_by_name(partition).inspect_err(|_| {
            self.assignment.remove(partition);
        })
    }

    fn remove(&self, partition: &Arc<Partition>, _changes: &MutexGuard<'_, ()>) {
        if self.assignment.remove(partition) {
            self.unassign_by_name(partition);
        }
    }

    fn assign_by_name(&self, partition: &Partition) -> Result<(), AssignError> {
        let mut list = TopicPartitionList::new();
        let at = KafkaOffset::Offset(partition.head().get());
        list.add_partition_offset(partition.topic.as_str(), partition.id.kafka(), at)?;
        Ok(self.consumer.incremental_assign(&list)?)
    }

    fn unassign_by_name(&self, partition: &Partition) {
        let mut list = TopicPartitionList::new();
        list.add_partition(partition.topic.as_str(), partition.id.kafka());
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            // Its records find no partition and are dropped: nothing is lost but the work of reading them.
            tracing::warn!(topic = %partition.topic, partition = %partition.id, %error, "not released");
        }
    }
}

impl Assignment {
    /// Returns the partition that a record is from; `None` when it was released meanwhile.
    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.topics.read().get(topic)?.get(&partition).cloned()
    }

    /// Returns how often partitions were assigned or released.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns all partitions.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.topics.read().values().flat_map(HashMap::values).cloned().collect()
    }

    fn insert(&self, partition: &Arc<Partition>) {
        let mut topics = self.topics.write();
        let topic = topics.entry(partition.topic.clone()).or_default();
        topic.insert(partition.id.kafka(), Arc::clone(partition));
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns whether it was there.
    fn remove(&self, partition: &Arc<Partition>) -> bool {
        let mut topics = self.topics.write();
        let Some(topic) = topics.get_mut(&partition.topic) else { return false };
        let is_there = topic.get(&partition.id.kafka()).is_some_and(|found| Arc::ptr_eq(found, partition));
        if is_there {
            topic.remove(&partition.id.kafka());
            self.changes.fetch_add(1, Ordering::Release);
        }
        if topic.is_empty() {
            topics.remove(&partition.topic);
        }
        is_there
    }

    /// Takes over where Kafka's partitions end.
    fn update_high_watermarks(&self, statistics: &Statistics) {
        let topics = self.topics.read();
        for (name, topic) in &statistics.topics {
            let Some(partitions) = topics.get(name.as_str()) else { continue };
            for (id, seen) in &topic.partitions {
                let Some(partition) = partitions.get(id) else { continue };
                // What is not committed yet cannot be read, so the last stable offset is the end, where Kafka says it.
                let end =
                    if seen.ls_offset >= 0 { seen.ls_offset.min(seen.hi_offset) } else { seen.hi_offset };
                // Transaction markers and compacted records are passed without a record to deliver.
                let all_read = seen.fetchq_cnt == 0 && seen.next_offset >= end && !partition.is_holding();
                let end = if all_read { Some(partition.head()) } else { Offset::new(end) };
                if let Some(end) = end {
                    partition.set_high_watermark(end, wall_clock_ms());
                }
            }
        }
    }
}
