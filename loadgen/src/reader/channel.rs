//! One subscription of a connection, over all its sessions.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Result;
use tailcast_client::Tracker;
use tailcast_proto::{
    Offset, PartitionId, Position,
    push::v1::{
        self, ClientMessage, DeliveryMode, Start, Subscribe, Subscribed, client_message::Command, start::At,
        subscribe::Target,
    },
};

use super::Shared;
use crate::account::Received;

/// Commands about one channel have this plus its index as their id; `Connect` has 1.
const FIRST_ID: u32 = 2;

/// One subscription.
#[derive(Debug)]
pub(super) struct Channel {
    channel: tailcast_proto::Channel,
    mode: DeliveryMode,
    max_rate: f64,
    tracker: Tracker,
    /// The partition of deliveries that do not name one.
    home: Option<PartitionId>,
    /// Its alias in this session, once it has started.
    pub(super) alias: Option<u32>,
    pub(super) received: Received,
}

impl Channel {
    pub(super) fn new(shared: &Shared, keys: Range<u32>) -> Result<Self> {
        let channel = shared.layout.channel(&keys)?;
        Ok(Self {
            tracker: Tracker::new(&channel),
            channel,
            mode: shared.mode,
            max_rate: shared.max_rate,
            home: None,
            alias: None,
            received: Received::new(keys, shared.is_conflated()),
        })
    }

    /// Returns the subscribe command: live the first time, then from the position.
    pub(super) fn subscribe(&self) -> Subscribe {
        let at = self.tracker.position().map(|position| At::Position(position.into()));
        Subscribe {
            target: Some(Target::Channel((&self.channel).into())),
            mode: self.mode.into(),
            max_rate: self.max_rate,
            start: at.map(|at| Start { at: Some(at) }),
            headers: false,
        }
    }

    /// Returns the command that restarts it within a session.
    pub(super) fn resubscribe(&self, index: usize) -> ClientMessage {
        let index = u32::try_from(index).unwrap_or(u32::MAX - FIRST_ID);
        ClientMessage { id: FIRST_ID + index, command: Some(Command::Subscribe(self.subscribe())) }
    }

    /// Returns the channel that a reply refers to.
    pub(super) fn index(id: u32, index: u32) -> Option<usize> {
        usize::try_from(id.checked_sub(FIRST_ID).unwrap_or(index)).ok()
    }

    /// Records that it has started. Returns whether records were lost.
    pub(super) fn subscribed(&mut self, subscribed: &Subscribed) -> bool {
        let outcome = subscribed.outcome();
        if let Ok(position) = Position::try_from(subscribed.position.clone().unwrap_or_default()) {
            let mut partitions = position.offsets.keys();
            let only = partitions.next().copied().filter(|_| partitions.next().is_none());
            let home = subscribed.home_partition.and_then(|home| PartitionId::try_from(home).ok());
            self.home = home.or(only);
            self.tracker.subscribed(position, outcome);
        }
        self.alias = Some(subscribed.alias);
        outcome == v1::Outcome::Lost
    }

    /// Records the offset of a delivery. Returns whether it is at or after the position.
    pub(super) fn delivered(&mut self, partition: Option<u32>, offset: i64) -> bool {
        let partition = partition.map_or(self.home, |partition| PartitionId::try_from(partition).ok());
        let Some((partition, offset)) = partition.zip(Offset::new(offset)) else { return false };
        self.tracker.delivered(partition, offset).is_ok()
    }

    /// Records a skipped range.
    pub(super) fn skipped(&mut self, skipped: &v1::Skipped) {
        let partition = PartitionId::try_from(skipped.partition).ok();
        let range = Offset::new(skipped.first_offset).zip(Offset::new(skipped.next_offset));
        if let Some((partition, (first, next))) = partition.zip(range) {
            self.tracker.skipped(partition, first, next, skipped.reason());
        }
    }

    /// Records a heartbeat's progress of partitions in which everything was delivered.
    pub(super) fn progressed(&mut self, progress: &BTreeMap<PartitionId, Offset>) {
        for (partition, next) in progress {
            self.tracker.progressed(*partition, *next);
        }
    }
}
