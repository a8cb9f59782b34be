//! The latest value of each key of the topics configured with `last_values`, from which snapshots are served.
//!
//! The feed keeps the values up to date; [loaders](crate::node::last_values_loader) load what Kafka had before. This is the data and
//! its budget.
//!
//! What is deliberately absent: a copy on disk. Kafka has it, and a node that starts reads it again.
//!
//! Invariant: a topic's values are all here or none are, and whoever asks is told which.

mod partition;
mod table;
mod topic;

use std::{collections::BTreeMap, sync::Arc};

use tailcast_proto::{Offset, TopicName};

pub(crate) use self::{
    partition::{LastValuesError, PartitionLastValues},
    topic::{LastValuesBudget, TopicLastValues},
};

/// The topics whose last values this node keeps.
#[derive(Debug)]
pub(crate) struct LastValues {
    pub(crate) topics: BTreeMap<TopicName, Arc<TopicLastValues>>,
    pub(crate) budget: Arc<LastValuesBudget>,
}

impl LastValues {
    /// Keeps those of `topics`, which may take `bytes_max` bytes together.
    pub(crate) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, bytes_max: usize) -> Arc<Self> {
        let budget = LastValuesBudget::new(bytes_max);
        let kept = |name: &TopicName| (name.clone(), TopicLastValues::new(name.clone(), Arc::clone(&budget)));
        Arc::new(Self { topics: topics.map(kept).collect(), budget })
    }

    /// Returns what keeps the last values of a partition that the feed reads from `feed_from` on; `None` when those of its
    /// topic are not kept.
    pub(crate) fn keep(&self, topic: &TopicName, feed_from: Offset) -> Option<Arc<PartitionLastValues>> {
        Some(PartitionLastValues::of(self.topics.get(topic)?, feed_from))
    }
}
