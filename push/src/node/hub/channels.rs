//! The numbers of channels, and what happens to them when partitions are added to a topic.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use tailcast_proto::{Channel, PartitionId, push::v1::UnsubscribeReason};
use tailcast_services::topics::Topic;

use super::Hub;
use crate::record::channel::NodeChannel;

impl Hub {
    /// Returns a channel with its number, which all its current subscribers share. `home` is the
    /// partition of an exact channel's key. If it changes because partitions were added, the
    /// channel gets another number.
    pub(crate) fn channel(&self, channel: &Channel, home: Option<PartitionId>) -> Arc<NodeChannel> {
        let mut known = self.channels.entry(channel.clone()).or_default();
        known.upgrade().filter(|known| known.home == home).unwrap_or_else(|| {
            let alias = self.next_alias.fetch_add(1, Ordering::Relaxed);
            let new = Arc::new(NodeChannel { channel: channel.clone(), alias, home });
            *known = Arc::downgrade(&new);
            new
        })
    }

    /// Ends the subscriptions to a topic to which partitions were added, since their channels span
    /// more partitions.
    pub(crate) fn grow_topic(&self, from: &Topic) {
        let mut earlier_counts =
            self.earlier_counts.entry(from.name.clone()).or_insert((from.epoch, BTreeSet::new()));
        if earlier_counts.0 != from.epoch {
            *earlier_counts = (from.epoch, BTreeSet::new());
        }
        earlier_counts.1.insert(from.partitions);
        drop(earlier_counts);
        self.close_slots(UnsubscribeReason::PartitionsAdded, |name, slot, partition| {
            // Partitions opened since then know the new count.
            let is_old = slot.count.load(Ordering::Acquire) <= from.partitions;
            *name == from.name && partition.epoch == from.epoch && is_old
        });
    }

    /// Returns the partition counts that a topic had before some were added, as far as this node
    /// has seen it.
    pub(crate) fn earlier_counts(&self, topic: &Topic) -> BTreeSet<u32> {
        let earlier_counts = self.earlier_counts.get(&topic.name);
        earlier_counts
            .filter(|earlier_counts| earlier_counts.0 == topic.epoch)
            .map(|earlier_counts| earlier_counts.1.clone())
            .unwrap_or_default()
    }
}
