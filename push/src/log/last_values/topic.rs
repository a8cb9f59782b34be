//! The last values of one topic, through all its incarnations, and the memory limit that all such
//! topics share.
//!
//! Bounded: a topic that exceeds the limit loses all its values and keeps none until the process
//! restarts. Other topics are not affected. Partial snapshots would be taken for complete ones, and
//! loading again would exceed the limit again.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tailcast_proto::TopicName;

/// The memory limit of the last values of all topics, in bytes, with what they use of it.
#[derive(Debug)]
pub(crate) struct LastValuesBudget {
    used: AtomicUsize,
    max: usize,
}

/// The last values of one partition, as its topic uses them.
pub(super) trait TopicMember: fmt::Debug + Send + Sync {
    /// Returns the number of values.
    fn count(&self) -> usize;

    /// Drops the values. None are kept from then on.
    fn drop_values(&self);
}

/// The last values of a topic.
#[derive(Debug)]
pub(crate) struct TopicLastValues {
    pub(crate) name: TopicName,
    budget: Arc<LastValuesBudget>,
    is_too_large: AtomicBool,
    /// The partitions that still exist.
    partitions: Mutex<Vec<Weak<dyn TopicMember>>>,
}

impl LastValuesBudget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

impl TopicLastValues {
    pub(super) fn new(name: TopicName, budget: Arc<LastValuesBudget>) -> Arc<Self> {
        Arc::new(Self { name, budget, is_too_large: AtomicBool::new(false), partitions: Mutex::default() })
    }

    /// Adds a partition. Its values are dropped with those of the others.
    pub(super) fn add(&self, values: Weak<dyn TopicMember>) {
        let mut partitions = self.partitions.lock();
        partitions.retain(|partition| partition.strong_count() > 0);
        partitions.push(values);
    }

    /// Whether the topic exceeded the limit.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::SeqCst)
    }

    /// Returns the number of values.
    pub(crate) fn count(&self) -> usize {
        self.live_partitions().iter().map(|partition| partition.count()).sum()
    }

    /// Drops the values of all partitions. None are kept from then on.
    pub(crate) fn drop_values(&self) {
        if self.is_too_large.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::error!(
            topic = %self.name, bytes_max = self.budget.max,
            "last values of the topic exceed push.last_values.bytes_max: none are kept and its snapshots are refused \
             until this node restarts with a higher limit"
        );
        for partition in self.live_partitions() {
            partition.drop_values();
        }
    }

    /// Updates the memory of a partition's table. Returns whether the total is within the limit.
    pub(super) fn resize(&self, before: usize, after: usize) -> bool {
        if after <= before {
            self.budget.used.fetch_sub(before - after, Ordering::Relaxed);
            return true;
        }
        let used = self.budget.used.fetch_add(after - before, Ordering::Relaxed) + (after - before);
        used <= self.budget.max
    }

    fn live_partitions(&self) -> Vec<Arc<dyn TopicMember>> {
        self.partitions.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests;
