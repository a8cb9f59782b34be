//! A conflated subscription that keeps everything it was told, and holds it against what Kafka has.
//!
//! The rules are those of the protocol, checked from outside: what came is of the channel and in order; a skip counts
//! exactly what its range left out; outside of skips nothing is missing; and of what was left out a newer record of the
//! same key came. Of what retention removed nothing is asked but that it was said.

use std::collections::{BTreeMap, BTreeSet};

use tailcast_proto::push::v1::{SkipReason, Skipped, Start, Subscribe, Subscribed};
use tailcast_proto::{Offset, PartitionId, Position};

use crate::record::{Record, newest};
use crate::subscriber::{Received, Subscriber, conflated};

/// A conflated subscription of one session.
pub struct ConflatedSubscriber {
    subscriber: Subscriber,
    channel: String,
    start: Position,
    /// What was delivered before the end of a snapshot, if it started with one.
    pub values: Vec<Received>,
    /// What was delivered since, in the order in which it came.
    pub delivered: Vec<Received>,
    /// What was said to be left out.
    pub skipped: Vec<Skipped>,
}

impl ConflatedSubscriber {
    /// Subscribes to a channel, with a rate limit unless that is 0, and returns what the node answered.
    ///
    /// # Panics
    ///
    /// When it answered with an error.
    pub async fn start(
        mut subscriber: Subscriber,
        channel: &str,
        start: Start,
        max_rate: f64,
    ) -> (Self, Subscribed) {
        let request = Subscribe { max_rate, ..conflated(channel, start) };
        let answer = subscriber.try_subscribe(request).await;
        let subscribed = answer.unwrap_or_else(|error| panic!("subscribing to {channel}: {error:?}"));
        let start = subscriber.position(channel);
        let channel = channel.to_owned();
        (
            Self {
                subscriber,
                channel,
                start,
                values: Vec::new(),
                delivered: Vec::new(),
                skipped: Vec::new(),
            },
            subscribed,
        )
    }

    /// Waits for the next WebSocket message and takes what it brings.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn message(&mut self) {
        let brought = self.subscriber.message().await;
        self.delivered.extend(brought.deliveries);
        self.skipped.extend(brought.skipped);
        if let Some(end) = brought.snapshot_end {
            let position = end.position.expect("SnapshotEnd carries the position");
            self.start = Position::try_from(position).expect("a node says valid positions");
            let is_value = |of: &mut Received| of.offset < self.start.offsets[&of.partition];
            self.values = self.delivered.extract_if(.., is_value).collect();
            let offsets = &self.start.offsets;
            let is_later = |of: &Skipped| offsets[&PartitionId::new(of.partition)].get() <= of.first_offset;
            self.skipped.retain(is_later);
        }
    }

    /// Reads until the end of the snapshot with which it started, and returns where that is.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn until_snapshot_end(&mut self) -> &Position {
        let start = self.start.clone();
        while self.start == start {
            self.message().await;
        }
        &self.start
    }

    /// Reads until as many records were delivered or left out.
    ///
    /// # Panics
    ///
    /// When they are more, or never as many.
    pub async fn until(&mut self, records: usize) {
        let records = u64::try_from(records).expect("a scenario has few records");
        loop {
            let delivered = u64::try_from(self.delivered.len()).expect("a scenario has few records");
            let left_out: u64 = self.skipped.iter().map(|skipped| skipped.records).sum();
            let known = delivered + left_out;
            assert!(known <= records, "{delivered} came and {left_out} did not, of {records} records");
            if known == records {
                return;
            }
            self.message().await;
        }
    }

    /// Reads until a record of the only partition was delivered that is published as the last.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub async fn until_offset(&mut self, last: Offset) {
        while self.delivered.last().is_none_or(|received| received.offset < last) {
            self.message().await;
        }
    }

    /// Returns where it is.
    pub fn position(&self) -> Position {
        self.subscriber.position(&self.channel)
    }

    /// Ends the session.
    pub async fn leave(self) {
        self.subscriber.leave().await;
    }

    /// Holds what it was told against all records of the channel that Kafka has.
    ///
    /// # Panics
    ///
    /// When something was not said, or is not so.
    #[track_caller]
    pub fn verify(&self, records: &[Record]) {
        let has_begun = |record: &&Record| self.start.offsets[&record.partition] <= record.offset;
        let (gone, conflated): (Vec<_>, Vec<_>) =
            self.skipped.iter().partition(|skipped| skipped.reason() == SkipReason::Retention);
        let is_in = |range: &Skipped, record: &Record| {
            let offsets = range.first_offset..range.next_offset;
            range.partition == record.partition.get() && offsets.contains(&record.offset.get())
        };
        let records: BTreeMap<_, _> = records
            .iter()
            .filter(has_begun)
            .filter(|record| !gone.iter().any(|gone| is_in(gone, record)))
            .map(|record| ((record.partition, record.offset), record))
            .collect();
        let delivered: BTreeSet<_> = self.delivered.iter().map(place).collect();
        assert_eq!(delivered.len(), self.delivered.len(), "something came twice");
        for received in &self.delivered {
            let record = records.get(&place(received));
            let record = record.unwrap_or_else(|| panic!("not in Kafka: {received:?}"));
            assert_eq!(received.value, record.value);
            assert!(received.key.is_none() || received.key == record.key, "{received:?} is {record:?}");
        }

        let left_out: BTreeMap<_, _> = records
            .iter()
            .filter(|(place, _)| !delivered.contains(place))
            .map(|(at, of)| (*at, *of))
            .collect();
        let mut said = 0;
        for skipped in conflated {
            let partition = PartitionId::new(skipped.partition);
            let at = |offset| (partition, Offset::new(offset).expect("an offset is 0 or more"));
            let count = left_out.range(at(skipped.first_offset)..at(skipped.next_offset)).count();
            assert_eq!(u64::try_from(count), Ok(skipped.records), "{skipped:?}");
            said += count;
        }
        assert_eq!(said, left_out.len(), "not all that was left out was said to be");

        let newest = newest(records.values().copied());
        for (place, record) in left_out {
            let newest = newest[&(place.0, record.key.clone())];
            assert!(delivered.contains(&(place.0, newest)), "the newest of {:?} never came", record.key);
        }
    }
}

fn place(received: &Received) -> (PartitionId, Offset) {
    (received.partition, received.offset)
}
