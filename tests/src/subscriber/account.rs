//! The state of a client's subscriptions: alias, channel and position of each.
//!
//! Plain code, which checks the promises about one connection: an alias has one channel, the
//! offsets of a partition only grow, skips are consistent with deliveries, and a snapshot has the
//! reported number of values.

mod received;

use std::collections::BTreeMap;

use tailcast_proto::push::v1::{
    Delivery, Heartbeat, Outcome, SkipReason, Skipped, SnapshotEnd, Subscribed, Unsubscribed, frame,
};
use tailcast_proto::{Offset, PartitionId, Position};

pub use self::received::Received;

/// The subscriptions of one session, by alias.
#[derive(Debug, Default)]
pub(super) struct Account {
    channels: BTreeMap<u32, Channel>,
}

/// The state of one subscription.
#[derive(Debug)]
struct Channel {
    name: String,
    position: Position,
    /// The partition of deliveries without one.
    home: Option<PartitionId>,
    delivered: u64,
    /// For each partition, the offset up to which skipped records are reported.
    accounted: BTreeMap<PartitionId, Offset>,
    /// Whether it started with a snapshot that has not ended.
    in_snapshot: bool,
}

impl Account {
    /// Returns the position of the subscription to a channel.
    pub(super) fn position(&self, channel: &str) -> Option<&Position> {
        self.channels.values().find(|of| of.name == channel).map(|of| &of.position)
    }

    /// Applies a frame, and checks it.
    pub(super) fn note(&mut self, frame: &frame::Frame) {
        match frame {
            frame::Frame::Subscribed(subscribed) => {
                let before = self.channels.insert(subscribed.alias, Channel::begin(subscribed));
                assert!(before.is_none(), "alias {} is used twice: {before:?}", subscribed.alias);
            }
            frame::Frame::Unsubscribed(Unsubscribed { alias, .. }) => {
                self.channels.remove(alias).expect("an unsubscribed alias was subscribed");
            }
            frame::Frame::Skipped(skipped) => self.channel(skipped.alias).skip(skipped),
            frame::Frame::SnapshotEnd(end) => self.channel(end.alias).end_snapshot(end),
            _ => {}
        }
    }

    pub(super) fn received(&mut self, delivery: Delivery) -> Received {
        self.channel(delivery.alias).receive(delivery)
    }

    pub(super) fn progress(&mut self, heartbeat: &Heartbeat) {
        for progress in &heartbeat.progress {
            let partition = PartitionId::new(progress.partition);
            let next = offset(progress.next_offset);
            let behind = |alias| progress.except_aliases.contains(alias);
            for (_, channel) in self.channels.iter_mut().filter(|(alias, _)| !behind(alias)) {
                let of_topic = channel.name.split('/').next() == Some(&progress.topic);
                if let Some(at) = channel.position.offsets.get_mut(&partition).filter(|_| of_topic) {
                    *at = (*at).max(next);
                }
            }
        }
    }

    fn channel(&mut self, alias: u32) -> &mut Channel {
        self.channels.get_mut(&alias).unwrap_or_else(|| panic!("alias {alias} has no channel"))
    }
}

impl Channel {
    fn begin(subscribed: &Subscribed) -> Self {
        let position = Position::try_from(subscribed.position.clone().unwrap_or_default());
        let position = position.expect("a node sends valid positions");
        let home = subscribed.home_partition.map(PartitionId::new);
        let is_home = |home| position.offsets.contains_key(home);
        assert!(home.as_ref().is_none_or(is_home), "the home partition has no position: {subscribed:?}");
        Self {
            name: subscribed.name.clone(),
            accounted: position.offsets.clone(),
            position,
            home,
            delivered: 0,
            in_snapshot: subscribed.outcome() == Outcome::Snapshot,
        }
    }

    fn receive(&mut self, delivery: Delivery) -> Received {
        let named = delivery.partition.map(PartitionId::new);
        assert!(named.is_none() || named != self.home, "{}: a delivery names its home partition", self.name);
        let partition =
            named.or(self.home).expect("a delivery of a channel with several partitions names one");
        let at = offset(delivery.offset);
        let next = self.position.offsets.get_mut(&partition);
        let next = next.unwrap_or_else(|| panic!("{}: partition {partition} is not subscribed", self.name));
        assert!(
            *next <= at,
            "{}: offset {at} of partition {partition} is repeated or out of order; expected {next}",
            self.name
        );
        *next = at.next();
        self.delivered += 1;
        Received::new(self.name.clone(), partition, delivery)
    }

    fn skip(&mut self, skipped: &Skipped) {
        let partition = PartitionId::new(skipped.partition);
        let (first, until) = (offset(skipped.first_offset), offset(skipped.next_offset));
        let next = self.position.offsets.get_mut(&partition).expect("a partition of the channel is skipped");
        let accounted = self.accounted.get_mut(&partition).expect("it is of the channel");
        assert!(*accounted <= first, "{}: {skipped:?} was accounted up to {accounted}", self.name);
        assert!(first < until, "{}: {skipped:?} is no range", self.name);
        match skipped.reason() {
            // The deliveries of the range precede it.
            SkipReason::Conflated => {
                assert!(*next <= until, "{}: {skipped:?} arrived after offset {next}", self.name);
                assert!(skipped.records > 0, "{}: {skipped:?} has no records", self.name);
            }
            SkipReason::Retention => {
                assert!(*next <= first, "{}: {skipped:?} arrived at {next}", self.name);
            }
            reason => panic!("{}: invalid reason {reason:?}: {skipped:?}", self.name),
        }
        *accounted = until;
        *next = until;
    }

    fn end_snapshot(&mut self, end: &SnapshotEnd) {
        assert!(self.in_snapshot, "{}: there was no snapshot to end: {end:?}", self.name);
        // Partitions with complete values continue before the others.
        let exact = self.position.offsets.len() == 1;
        assert!(end.values <= self.delivered, "{}: {} of {end:?}", self.name, self.delivered);
        assert!(!exact || end.values == self.delivered, "{}: {} of {end:?}", self.name, self.delivered);
        self.in_snapshot = false;
        let position = end.position.clone().expect("SnapshotEnd carries the position");
        let position = Position::try_from(position).expect("a node sends valid positions");
        for (partition, at) in &position.offsets {
            let reached = self.position.offsets[partition];
            assert!(reached <= *at, "{}: {partition} was at {reached}: {end:?}", self.name);
        }
        assert_eq!(position.offsets.len(), self.position.offsets.len(), "{}: {end:?}", self.name);
        self.accounted.clone_from(&position.offsets);
        self.position = position;
    }
}

fn offset(of_frame: i64) -> Offset {
    Offset::new(of_frame).expect("an offset is 0 or more")
}
