//! A conflated subscription that keeps all its frames, and compares them with the records in Kafka.
//!
//! The rules are those of the protocol: deliveries belong to the channel and are in order; a skip
//! has the exact number of skipped records in its range; outside of skips no record is missing; and
//! for each skipped record a newer one of its key was delivered. Records that retention removed
//! must be reported, and nothing else.

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
    /// The deliveries before the end of a snapshot, if it started with one.
    pub values: Vec<Received>,
    /// The deliveries since, in the order of their arrival.
    pub delivered: Vec<Received>,
    /// The reported skips.
    pub skipped: Vec<Skipped>,
}

impl ConflatedSubscriber {
    /// Subscribes to a channel, with a rate limit unless it is 0, and returns the node's answer.
    ///
    /// # Panics
    ///
    /// When the answer is an error.
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

    /// Waits for the next WebSocket message, and keeps its frames.
    ///
    /// # Panics
    ///
    /// When none arrives.
    pub async fn message(&mut self) {
        let brought = self.subscriber.message().await;
        self.delivered.extend(brought.deliveries);
        self.skipped.extend(brought.skipped);
        if let Some(end) = brought.snapshot_end {
            let position = end.position.expect("SnapshotEnd carries the position");
            self.start = Position::try_from(position).expect("a node sends valid positions");
            let is_value = |of: &mut Received| of.offset < self.start.offsets[&of.partition];
            self.values = self.delivered.extract_if(.., is_value).collect();
            let offsets = &self.start.offsets;
            let is_later = |of: &Skipped| offsets[&PartitionId::new(of.partition)].get() <= of.first_offset;
            self.skipped.retain(is_later);
        }
    }

    /// Reads until the end of the snapshot, and returns its position.
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

    /// Reads until this number of records was delivered or skipped.
    ///
    /// # Panics
    ///
    /// When the number is exceeded, or not reached.
    pub async fn until(&mut self, records: usize) {
        let records = u64::try_from(records).expect("a scenario has few records");
        loop {
            let delivered = u64::try_from(self.delivered.len()).expect("a scenario has few records");
            let left_out: u64 = self.skipped.iter().map(|skipped| skipped.records).sum();
            let known = delivered + left_out;
            assert!(
                known <= records,
                "{delivered} were delivered and {left_out} skipped, of {records} records"
            );
            if known == records {
                return;
            }
            self.message().await;
        }
    }

    /// Reads until the last record of the only partition was delivered.
    ///
    /// # Panics
    ///
    /// When it does not arrive.
    pub async fn until_offset(&mut self, last: Offset) {
        while self.delivered.last().is_none_or(|received| received.offset < last) {
            self.message().await;
        }
    }

    /// Returns its position.
    pub fn position(&self) -> Position {
        self.subscriber.position(&self.channel)
    }

    /// Ends the session.
    pub async fn leave(self) {
        self.subscriber.leave().await;
    }

    /// Compares all frames with the records of the channel in Kafka.
    ///
    /// # Panics
    ///
    /// When a record was not reported, or reported wrongly.
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
        assert_eq!(delivered.len(), self.delivered.len(), "a record was delivered twice");
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
        let mut reported = 0;
        for skipped in conflated {
            let partition = PartitionId::new(skipped.partition);
            let at = |offset| (partition, Offset::new(offset).expect("an offset is 0 or more"));
            let count = left_out.range(at(skipped.first_offset)..at(skipped.next_offset)).count();
            assert_eq!(u64::try_from(count), Ok(skipped.records), "{skipped:?}");
            reported += count;
        }
        assert_eq!(reported, left_out.len(), "not all skipped records were reported");

        let newest = newest(records.values().copied());
        for (place, record) in left_out {
            let newest = newest[&(place.0, record.key.clone())];
            assert!(
                delivered.contains(&(place.0, newest)),
                "the newest record of {:?} was not delivered",
                record.key
            );
        }
    }
}

fn place(received: &Received) -> (PartitionId, Offset) {
    (received.partition, received.offset)
}
