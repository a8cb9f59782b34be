//! The latest value of each key of the topics for which that is configured, so that a subscription can start with it.
//!
//! For each such topic a keeper leases all partitions as long as the process lives, reads what they have from Kafka by the
//! pages of catch-up, and the feed keeps it up to date. A node is ready once that is there: a client that starts with a
//! snapshot does not wait for it.
//!
//! What is deliberately absent: a copy on disk. Kafka has it, and a node that starts reads it again.
//!
//! Invariant: a topic's values are all here or none are, and whoever asks is told which.

mod figures;
mod keeper;
mod kept;
mod kept_topic;
mod progress;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use tailcast_proto::{Offset, TopicName};
use tailcast_services::{lifecycle::Lifecycle, readiness::Readiness, topics::Topics};

pub(crate) use self::kept::{KeptValues, NotKept};
use self::{
    keeper::Keeper,
    kept_topic::{Budget, KeptTopic},
    progress::Progress,
};
use crate::{catch_up::CatchUp, hub::Hub};

/// The topics whose last values this node keeps.
#[derive(Debug)]
pub(crate) struct LastValues {
    topics: BTreeMap<TopicName, Arc<KeptTopic>>,
    budget: Arc<Budget>,
}

impl LastValues {
    /// Keeps those of `topics`, which may take `bytes_max` bytes together.
    pub(crate) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, bytes_max: usize) -> Arc<Self> {
        let budget = Budget::new(bytes_max);
        let kept = |name: &TopicName| (name.clone(), KeptTopic::new(name.clone(), Arc::clone(&budget)));
        Arc::new(Self { topics: topics.map(kept).collect(), budget })
    }

    /// Returns what keeps the last values of a partition that the feed reads from `feed_from` on; `None` when those of its
    /// topic are not kept.
    pub(crate) fn keep(&self, topic: &TopicName, feed_from: Offset) -> Option<Arc<KeptValues>> {
        Some(self.topics.get(topic)?.keep(feed_from))
    }

    /// Starts a keeper for each topic, and says what there is to `readiness` and `registry`.
    pub(crate) fn start(
        self: &Arc<Self>,
        hub: &Arc<Hub>,
        topics: &Topics,
        catch_up: &CatchUp,
        lifecycle: &Lifecycle,
        readiness: &Readiness,
        registry: &mut Registry,
    ) {
        figures::register(registry, self);
        if self.topics.is_empty() {
            return;
        }
        let condition = readiness.condition("push.last_values", "no topic has been looked up yet");
        let progress = Progress::new(self.topics.keys(), condition);
        for topic in self.topics.values() {
            let keeper = Keeper {
                topic: Arc::clone(topic),
                hub: Arc::clone(hub),
                topics: topics.clone(),
                catch_up: catch_up.clone(),
                progress: Arc::clone(&progress),
                leases: BTreeMap::new(),
                is_missing: false,
            };
            lifecycle.spawn("last-values", keeper.run(lifecycle.clone()));
        }
    }
}
