//! The subscriptions of a client, independent of connections.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tailcast_proto::Channel;

use super::AlreadySubscribed;
use crate::{Mode, Subscription, Tracker};

/// One subscription.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subscription: Subscription,
    /// The channel, shared with the events of the subscription.
    pub(super) channel: Arc<Channel>,
    /// The position after all events, from any connection.
    pub(super) tracker: Tracker,
    /// Whether the application is ending the subscription.
    pub(super) unsubscribing: bool,
}

/// All subscriptions, by a number that is never reused.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: BTreeMap<u64, Entry>,
    by_channel: HashMap<Arc<Channel>, u64>,
    next_number: u64,
}

impl Entry {
    /// Returns whether two connections can serve the subscription at once, so that repetitions are
    /// recognised by offset. Conflation skips different records on each connection, and an
    /// incomplete snapshot has no position for the second one.
    pub(super) fn can_overlap(&self) -> bool {
        !self.unsubscribing && self.subscription.mode == Mode::Lossless && self.tracker.position().is_some()
    }
}

impl Entries {
    /// Adds a subscription and returns its number.
    pub(super) fn add(&mut self, subscription: Subscription) -> Result<u64, AlreadySubscribed> {
        if self.by_channel.contains_key(&subscription.channel) {
            return Err(AlreadySubscribed);
        }
        let channel = Arc::new(subscription.channel.clone());
        let number = self.next_number;
        self.next_number += 1;
        self.by_channel.insert(Arc::clone(&channel), number);
        let tracker = Tracker::new(&channel);
        self.entries.insert(number, Entry { subscription, channel, tracker, unsubscribing: false });
        Ok(number)
    }

    pub(super) fn number(&self, channel: &Channel) -> Option<u64> {
        self.by_channel.get(channel).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.entries.iter_mut().map(|(number, entry)| (*number, entry))
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.by_channel.remove(&entry.channel);
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
