//! Where one subscription is.
//!
//! Deliveries, progress and skips move the position forward; it is what a reconnect asks for. The tracker also checks what it
//! is told: a delivery below the position would be a repetition or out of order, and is an error.
//!
//! Invariant: offsets of a partition only grow, but for a truncated log, whose offsets are given out again.

use tailcast_proto::{
    Channel, Offset, PartitionId, Position,
    push::v1::{Outcome, SkipReason},
};

/// Where one subscription is.
#[derive(Debug, Clone)]
pub struct Tracker {
    stage: Stage,
    position: Position,
    /// Whether partitions that the position does not name may belong to the channel.
    spans: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Never subscribed: there is no position.
    New,
    /// Some keys of a snapshot are still to come, so there is no position from which nothing would be missed.
    Snapshot,
    Tracking,
}

/// A delivery that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of partition {partition} came when {next} was next: repeated or out of order")]
pub struct OrderError {
    /// The partition.
    pub partition: PartitionId,
    /// The offset that came.
    pub offset: Offset,
    /// The least offset that could.
    pub next: Offset,
}

impl Tracker {
    /// Starts without a position.
    #[must_use]
    pub fn new(channel: &Channel) -> Self {
        Self { stage: Stage::New, position: Position::default(), spans: channel.spans_keys() }
    }

    /// Returns the position to resume from. `None` before the subscription has started, and while a snapshot is
    /// incomplete.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        (self.stage == Stage::Tracking).then_some(&self.position)
    }

    /// Takes where a node starts the subscription.
    ///
    /// After a resume the larger offset counts, so that a node which starts too early is found out by its first
    /// repetition. A node that says `LOST`, or starts in another epoch, is taken at its word.
    pub fn subscribed(&mut self, start: Position, outcome: Outcome) {
        if outcome == Outcome::Snapshot {
            self.stage = Stage::Snapshot;
            self.position = Position { offsets: std::collections::BTreeMap::new(), ..start };
            return;
        }
        let resumed = matches!(outcome, Outcome::Resumed | Outcome::CatchingUp)
            && self.stage == Stage::Tracking
            && self.position.epoch == start.epoch;
        let before = std::mem::replace(&mut self.position, start);
        self.stage = Stage::Tracking;
        if resumed {
            for (partition, next) in before.offsets {
                self.advance(partition, next);
            }
        }
    }

    /// Takes a delivery.
    ///
    /// # Errors
    ///
    /// When its offset is below the next one; the position stays.
    pub fn delivered(&mut self, partition: PartitionId, offset: Offset) -> Result<(), OrderError> {
        match self.position.offsets.get(&partition) {
            Some(next) if offset < *next => Err(OrderError { partition, offset, next: *next }),
            _ => {
                self.position.offsets.insert(partition, offset.next());
                Ok(())
            }
        }
    }

    /// Takes a heartbeat's word that everything before `next` was delivered. Returns whether the position moved.
    pub fn progressed(&mut self, partition: PartitionId, next: Offset) -> bool {
        let belongs = self.spans || self.position.offsets.contains_key(&partition);
        self.stage == Stage::Tracking && belongs && self.advance(partition, next)
    }

    /// Takes a range that will not be delivered.
    ///
    /// A truncated range was delivered and is gone, and its offsets will be given out again: the position goes back.
    pub fn skipped(&mut self, partition: PartitionId, first: Offset, next: Offset, reason: SkipReason) {
        if reason == SkipReason::Truncated {
            self.position.offsets.insert(partition, first);
        } else {
            self.advance(partition, next);
        }
    }

    /// Takes the end of a snapshot: from here on there is a position.
    pub fn snapshot_ended(&mut self, position: Position) {
        let before = std::mem::replace(&mut self.position, position);
        self.stage = Stage::Tracking;
        for (partition, next) in before.offsets {
            self.advance(partition, next);
        }
    }

    fn advance(&mut self, partition: PartitionId, next: Offset) -> bool {
        let at = self.position.offsets.entry(partition).or_insert(Offset::ZERO);
        let moved = next > *at;
        *at = next.max(*at);
        moved
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
