//! The tail consumer, its partitions, and the end offsets in its statistics.
//!
//! Partitions are assigned manually, never through a consumer group: there is no rebalance in the
//! delivery path.

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
    /// Locked while the consumer and `assignment` change together. librdkafka identifies partitions
    /// by name, and an assigned partition may have the name of one that was released.
    changes: Mutex<()>,
    /// The topics whose metadata the consumer has loaded, and their partition counts at that time.
    partition_counts: Mutex<HashMap<TopicName, usize>>,
    /// Partitions to be read again from their head. The feed does this when it holds no records of
    /// them, which would otherwise be appended after a gap.
    rereads: Mutex<Vec<Arc<Partition>>>,
    assignment: Arc<Assignment>,
}

/// The partitions of the tail consumer, by topic name and id.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    topics: RwLock<HashMap<TopicName, HashMap<i32, Arc<Partition>>>>,
    /// Counts changes, so that a caller that remembers a partition knows when to look it up again.
    changes: AtomicU64,
}

/// librdkafka rejected the assignment of a partition.
#[derive(Debug, thiserror::Error)]
#[error("cannot assign the partition: {0}")]
pub(crate) struct AssignError(#[from] KafkaError);

impl Tail {
    /// Timeout for loading the metadata of a topic.
    const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

    /// Creates the consumer.
    ///
    /// # Errors
    ///
    /// If librdkafka rejects the configuration.
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

    /// Loads the metadata of a topic before a partition is assigned. Without it, the first record
    /// takes half a second for a topic that is new to the consumer, and ten seconds for a partition
    /// added to a known topic. Blocks until Kafka answers.
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

    /// Tails a partition from its head. Takes about 100 µs and does not disturb other partitions.
    pub(crate) fn assign(&self, partition: &Arc<Partition>) -> Result<(), AssignError> {
        self.add(partition, &self.changes.lock())
    }

    /// Stops tailing a partition. Does nothing if it is not tailed, even if another one with the
    /// same name is.
    pub(crate) fn release(&self, partition: &Arc<Partition>) {
        self.remove(partition, &self.changes.lock());
    }

    /// Asks the feed to read a partition again from its head.
    pub(crate) fn request_reread(&self, partition: &Arc<Partition>) {
        let mut rereads = self.rereads.lock();
        if !rereads.iter().any(|asked| Arc::ptr_eq(asked, partition)) {
            rereads.push(Arc::clone(partition));
        }
    }

    /// Assigns the partitions of [`request_reread`](Self::request_reread) again. Called by the feed
    /// when it holds no records.
    pub(crate) fn apply_rereads(&self) {
        for partition in std::mem::take(&mut *self.rereads.lock()) {
            partition.discard_held();
            if let Err(error) = self.assign_again(&partition) {
                // The partition makes no progress, which its lag shows.
                tracing::error!(topic = %partition.topic, partition = %partition.id, %error, "cannot assign the partition again");
            }
        }
    }

    /// Assigns a partition at its head, whether or not it is tailed, unless it was retired.
    fn assign_again(&self, partition: &Arc<Partition>) -> Result<(), AssignError> {
        let changes = self.changes.lock();
        // Under the lock: a partition is retired before it is released, and releasing takes the
        // lock.
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
            // Its records match no assigned partition and are dropped. Only the work of reading
            // them is wasted.
            tracing::warn!(topic = %partition.topic, partition = %partition.id, %error, "cannot unassign the partition");
        }
    }
}

impl Assignment {
    /// Returns the partition that a record is from; `None` if it was released.
    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.topics.read().get(topic)?.get(&partition).cloned()
    }

    /// Returns the number of assignments and releases so far.
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

    /// Returns whether the partition was assigned.
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

    /// Updates the high watermarks of the partitions from librdkafka's statistics.
    fn update_high_watermarks(&self, statistics: &Statistics) {
        let topics = self.topics.read();
        for (name, topic) in &statistics.topics {
            let Some(partitions) = topics.get(name.as_str()) else { continue };
            for (id, seen) in &topic.partitions {
                let Some(partition) = partitions.get(id) else { continue };
                // Records of open transactions cannot be read, so the last stable offset is the
                // end, if Kafka reports one.
                let end =
                    if seen.ls_offset >= 0 { seen.ls_offset.min(seen.hi_offset) } else { seen.hi_offset };
                // Transaction markers and compacted records move the position without a record to
                // deliver.
                let all_read = seen.fetchq_cnt == 0 && seen.next_offset >= end && !partition.is_holding();
                let end = if all_read { Some(partition.head()) } else { Offset::new(end) };
                if let Some(end) = end {
                    partition.set_high_watermark(end, wall_clock_ms());
                }
            }
        }
    }
}
