//! The latest value of each key, for topics configured with `last_values`. Snapshots are served
//! from it.
//!
//! The feed keeps the values up to date; [loaders](crate::node::last_values_loader) add what Kafka
//! had before. This module has the data and its memory limit.
//!
//! Deliberately absent: a copy on disk. A node that starts reads the values from Kafka again.
//!
//! Invariant: the last values of a topic are complete or absent, and readers learn which.

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
    /// Keeps the last values of `topics`, up to `bytes_max` bytes in total.
    pub(crate) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, bytes_max: usize) -> Arc<Self> {
        let budget = LastValuesBudget::new(bytes_max);
        let kept = |name: &TopicName| (name.clone(), TopicLastValues::new(name.clone(), Arc::clone(&budget)));
        Arc::new(Self { topics: topics.map(kept).collect(), budget })
    }

    /// Creates the last values of a partition that the feed reads from `feed_from` on; `None` if
    /// the topic is not configured to keep them.
    pub(crate) fn keep(&self, topic: &TopicName, feed_from: Offset) -> Option<Arc<PartitionLastValues>> {
        Some(PartitionLastValues::of(self.topics.get(topic)?, feed_from))
    }
}
