//! A topic whose last values are kept, through all its incarnations, and what all such topics may take together.
//!
//! Bounded: the topic that takes what is not there loses all its values, and keeps none until the process starts again; the
//! others go on. Halves of a snapshot would be worse than none, and trying again would fill the node again and again.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tailcast_proto::TopicName;

/// What the last values of all topics may take together, in bytes.
#[derive(Debug)]
pub(crate) struct LastValuesBudget {
    used: AtomicUsize,
    max: usize,
}

/// The last values of one partition, as their topic sees them.
pub(super) trait TopicMember: fmt::Debug + Send + Sync {
    /// Returns how many there are.
    fn count(&self) -> usize;

    /// Drops them, and keeps none from here on.
    fn drop_values(&self);
}

/// A topic whose last values are kept.
#[derive(Debug)]
pub(crate) struct TopicLastValues {
    pub(crate) name: TopicName,
    budget: Arc<LastValuesBudget>,
    is_too_large: AtomicBool,
    /// Those of its partitions that live.
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

    /// Takes in a partition, which is given up with the others from here on.
    pub(super) fn add(&self, values: Weak<dyn TopicMember>) {
        let mut partitions = self.partitions.lock();
        partitions.retain(|partition| partition.strong_count() > 0);
        partitions.push(values);
    }

    /// Whether the topic was given up.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::SeqCst)
    }

    /// How many values are kept.
    pub(crate) fn count(&self) -> usize {
        self.live_partitions().iter().map(|partition| partition.count()).sum()
    }

    /// Drops the values of all partitions, and keeps none from here on.
    pub(crate) fn drop_values(&self) {
        if self.is_too_large.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::error!(
            topic = %self.name, bytes_max = self.budget.max,
            "the last values of the topic are more than push.last_values.bytes_max allows: none are kept, and snapshots \
             of it are refused, until this node starts with a larger bound"
        );
        for partition in self.live_partitions() {
            partition.drop_values();
        }
    }

    /// Notes that a partition's table holds `after` bytes instead of `before`. Returns whether that fits.
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
