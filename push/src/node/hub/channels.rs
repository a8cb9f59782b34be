//! The numbers of channels, and what adding partitions to a topic does to them.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use tailcast_proto::{Channel, PartitionId, push::v1::UnsubscribeReason};
use tailcast_services::topics::Topic;

use super::Hub;
use crate::record::chunk::NodeChannel;

impl Hub {
    /// Returns a channel with its number, the same for everybody who holds it at the same time. `home` is the partition that
    /// the key of an exact channel belongs to; when partitions are added it may be another one, and so is the number.
    pub(crate) fn channel(&self, channel: &Channel, home: Option<PartitionId>) -> Arc<NodeChannel> {
        let mut known = self.channels.entry(channel.clone()).or_default();
        known.upgrade().filter(|known| known.home == home).unwrap_or_else(|| {
            let alias = self.next_alias.fetch_add(1, Ordering::Relaxed);
            let new = Arc::new(NodeChannel { channel: channel.clone(), alias, home });
            *known = Arc::downgrade(&new);
            new
        })
    }

    /// Notes that partitions were added to a topic, and ends its subscriptions: their channels span more now.
    pub(crate) fn grow_topic(&self, from: &Topic) {
        let mut earlier_counts =
            self.earlier_counts.entry(from.name.clone()).or_insert((from.epoch, BTreeSet::new()));
        if earlier_counts.0 != from.epoch {
            *earlier_counts = (from.epoch, BTreeSet::new());
        }
        earlier_counts.1.insert(from.partitions);
        drop(earlier_counts);
        self.close_slots(UnsubscribeReason::PartitionsAdded, |name, slot, partition| {
            // What was opened since knows of the new partitions.
            let is_old = slot.count.load(Ordering::Acquire) <= from.partitions;
            *name == from.name && partition.epoch == from.epoch && is_old
        });
    }

    /// Returns how many partitions a topic had before some were added, as far as this node has seen it.
    pub(crate) fn earlier_counts(&self, topic: &Topic) -> BTreeSet<u32> {
        let earlier_counts = self.earlier_counts.get(&topic.name);
        earlier_counts
            .filter(|earlier_counts| earlier_counts.0 == topic.epoch)
            .map(|earlier_counts| earlier_counts.1.clone())
            .unwrap_or_default()
    }
}
