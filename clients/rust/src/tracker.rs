//! The position of one subscription.
//!
//! Deliveries, progress and skips advance the position, from which a reconnect resumes. A delivery
//! below the position is a repetition or out of order, and is an error.
//!
//! Invariant: the offsets of a partition only grow, except after a truncated log, whose offsets are
//! assigned again.

use std::{collections::BTreeMap, mem};

use tailcast_proto::{
    Channel, Offset, PartitionId, Position,
    push::v1::{Outcome, SkipReason},
};

/// The position of one subscription.
#[derive(Debug, Clone)]
pub struct Tracker {
    stage: Stage,
    position: Position,
    /// Whether the channel may have records in partitions that are not in the position.
    spans: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not subscribed yet: there is no position.
    New,
    /// A snapshot is incomplete, so no position exists from which nothing would be missed.
    Snapshot,
    Tracking,
}

/// A delivery that violates the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of partition {partition} is repeated or out of order; expected {next}")]
pub struct OrderError {
    /// The partition.
    pub partition: PartitionId,
    /// The delivered offset.
    pub offset: Offset,
    /// The smallest valid offset.
    pub next: Offset,
}

impl Tracker {
    /// Starts without a position.
    #[must_use]
    pub fn new(channel: &Channel) -> Self {
        Self { stage: Stage::New, position: Position::default(), spans: channel.spans_keys() }
    }

    /// Returns the position to resume from. `None` before the subscription has started, and while a
    /// snapshot is incomplete.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        (self.stage == Stage::Tracking).then_some(&self.position)
    }

    /// Applies the start of the subscription at a node.
    ///
    /// After a resume the larger offset counts, so that a repetition by a node that starts too
    /// early is detected. The start of a node that returns `LOST`, or has another epoch, replaces
    /// the position.
    pub fn subscribed(&mut self, start: Position, outcome: Outcome) {
        if outcome == Outcome::Snapshot {
            self.stage = Stage::Snapshot;
            self.position = Position { offsets: BTreeMap::new(), ..start };
            return;
        }
        let resumed = matches!(outcome, Outcome::Resumed | Outcome::CatchingUp);
        let before = mem::replace(&mut self.position, start);
        let tracked = mem::replace(&mut self.stage, Stage::Tracking) == Stage::Tracking;
        if resumed && tracked {
            self.keep(before);
        }
    }

    /// Returns whether a node that starts the subscription at `start` delivers everything after
    /// this position.
    #[must_use]
    pub fn continues_from(&self, start: &Position, outcome: Outcome) -> bool {
        let Some(position) = self.position() else { return false };
        let resumed = matches!(outcome, Outcome::Resumed | Outcome::CatchingUp);
        let from = |partition| start.offsets.get(partition);
        let covered =
            position.offsets.iter().all(|(partition, at)| from(partition).is_some_and(|from| from <= at));
        resumed && position.epoch == start.epoch && covered
    }

    /// Takes over the position of another connection, which serves the subscription from now on.
    /// The larger offset counts.
    pub fn merge(&mut self, other: &Self) {
        let before = mem::replace(self, other.clone());
        if before.stage == Stage::Tracking && self.stage == Stage::Tracking {
            self.keep(before.position);
        }
    }

    /// Returns the next offset of a partition, if known.
    #[must_use]
    pub fn next(&self, partition: PartitionId) -> Option<Offset> {
        self.position.offsets.get(&partition).copied()
    }

    /// Applies a delivery.
    ///
    /// # Errors
    ///
    /// When its offset is below the next one; the position is unchanged then.
    pub fn delivered(&mut self, partition: PartitionId, offset: Offset) -> Result<(), OrderError> {
        match self.position.offsets.get(&partition) {
            Some(next) if offset < *next => Err(OrderError { partition, offset, next: *next }),
            _ => {
                self.position.offsets.insert(partition, offset.next());
                Ok(())
            }
        }
    }

    /// Applies a heartbeat, which reports that everything before `next` was delivered. Returns
    /// whether the position advanced.
    pub fn progressed(&mut self, partition: PartitionId, next: Offset) -> bool {
        let belongs = self.spans || self.position.offsets.contains_key(&partition);
        self.stage == Stage::Tracking && belongs && self.advance(partition, next)
    }

    /// Applies a range that will not be delivered.
    ///
    /// A truncated range was delivered and no longer exists, and its offsets will be assigned
    /// again: the position goes back.
    pub fn skipped(&mut self, partition: PartitionId, first: Offset, next: Offset, reason: SkipReason) {
        if reason == SkipReason::Truncated {
            self.position.offsets.insert(partition, first);
        } else {
            self.advance(partition, next);
        }
    }

    /// Applies that the channel's only key is in another partition than the position, because the
    /// topic got more partitions. The position then only has the epoch and the former number of
    /// partitions, so that a node starts a new partition at its first record. Returns whether a
    /// retry can succeed therefore.
    pub fn key_moved(&mut self) -> bool {
        let knows = self.stage == Stage::Tracking && self.position.partition_count.is_some();
        let moved = knows && !self.spans && !self.position.offsets.is_empty();
        if moved {
            self.position.offsets.clear();
        }
        moved
    }

    /// Applies the end of a snapshot, after which there is a position.
    pub fn snapshot_ended(&mut self, position: Position) {
        let before = mem::replace(&mut self.position, position);
        self.stage = Stage::Tracking;
        for (partition, next) in before.offsets {
            self.advance(partition, next);
        }
    }

    /// Applies the position that a node sends before it closes: everything before it was delivered
    /// or skipped.
    pub fn closing(&mut self, position: &Position) {
        if self.stage == Stage::Tracking && self.position.epoch == position.epoch {
            for (partition, next) in &position.offsets {
                self.advance(*partition, *next);
            }
        }
    }

    /// Keeps the larger offsets of an earlier position of the same epoch.
    fn keep(&mut self, before: Position) {
        if before.epoch != self.position.epoch {
            return;
        }
        for (partition, next) in before.offsets {
            // A channel of one key may have moved to another partition, which is in the node's
            // position.
            if self.spans || self.position.offsets.contains_key(&partition) {
                self.advance(partition, next);
            }
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
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn offset(offset: i64) -> Offset {
        Offset::new(offset).expect("it is not negative")
    }

    fn tracker(channel: &str, position: &str, outcome: Outcome) -> Tracker {
        let mut tracker = Tracker::new(&channel.parse().expect("a channel"));
        tracker.subscribed(position.parse().expect("a position"), outcome);
        tracker
    }

    #[track_caller]
    fn check(tracker: &Tracker, expected: &str) {
        assert_eq!(tracker.position().map(ToString::to_string).unwrap_or_default(), expected);
    }

    #[test]
    fn deliveries_progress_and_skips_move_the_position_forward() {
        let mut tracker = tracker("quotes/A", "0:5", Outcome::Live);
        let partition = PartitionId::new(0);
        tracker.delivered(partition, offset(7)).expect("7 is not below 5");
        check(&tracker, "0:8");
        assert!(tracker.progressed(partition, offset(100)));
        assert!(!tracker.progressed(partition, offset(50)), "the larger offset counts");
        check(&tracker, "0:100");
        tracker.skipped(partition, offset(100), offset(120), SkipReason::Retention);
        check(&tracker, "0:120");
    }

    #[test]
    fn a_delivery_below_the_position_is_an_error_and_moves_nothing() {
        let mut tracker = tracker("quotes/A", "0:5", Outcome::Resumed);
        let error = tracker.delivered(PartitionId::new(0), offset(4)).expect_err("4 is below 5");
        assert_eq!((error.offset, error.next), (offset(4), offset(5)));
        check(&tracker, "0:5");
    }

    #[test]
    fn the_position_goes_back_after_a_truncated_log() {
        let mut tracker = tracker("quotes/A", "0:9", Outcome::Live);
        tracker.skipped(PartitionId::new(0), offset(6), offset(9), SkipReason::Truncated);
        check(&tracker, "0:6");
        tracker.delivered(PartitionId::new(0), offset(6)).expect("6 is a new record");
    }

    #[test]
    fn progress_of_partitions_without_the_channel_is_ignored() {
        let mut exact = tracker("quotes/A", "3:5", Outcome::Live);
        assert!(!exact.progressed(PartitionId::new(0), offset(9)));
        check(&exact, "3:5");
        let mut all = tracker("quotes/*", "3:5", Outcome::Live);
        assert!(all.progressed(PartitionId::new(0), offset(9)));
        check(&all, "0:9,3:5");
    }

    #[test]
    fn an_incomplete_snapshot_has_no_position() {
        let mut tracker = tracker("quotes/*", "0:50,1:70", Outcome::Snapshot);
        tracker.delivered(PartitionId::new(0), offset(12)).expect("a value of the snapshot");
        tracker.progressed(PartitionId::new(1), offset(80));
        check(&tracker, "");
        tracker.snapshot_ended("0:50,1:70".parse().expect("a position"));
        check(&tracker, "0:50,1:70");
    }

    #[test]
    fn a_key_that_moved_has_only_the_nodes_position() {
        let mut tracker = tracker("quotes/A", "1:5", Outcome::Live);
        tracker.subscribed("3:0".parse().expect("a position"), Outcome::Resumed);
        check(&tracker, "3:0");
    }

    #[test]
    fn a_repetition_by_a_node_that_resumes_too_early_is_detected() {
        let mut tracker = tracker("quotes/A", "0:5", Outcome::Live);
        tracker.subscribed("0:3".parse().expect("a position"), Outcome::Resumed);
        check(&tracker, "0:5");
        assert!(tracker.delivered(PartitionId::new(0), offset(3)).is_err());
        tracker.subscribed("0:3".parse().expect("a position"), Outcome::Lost);
        check(&tracker, "0:3");
    }

    proptest! {
        /// A log of one partition, some records of which belong to the channel; a node that
        /// delivers from the position, sometimes reports progress, and is disconnected at any time.
        #[test]
        fn every_record_is_delivered_once_across_disconnects(
            log in proptest::collection::vec(any::<bool>(), 0..200),
            cuts in proptest::collection::vec((1..30_usize, any::<bool>()), 0..60),
        ) {
            let partition = PartitionId::new(0);
            let mut tracker = tracker("quotes/A", "0:0", Outcome::Live);
            let mut received = Vec::new();
            for (steps, progress) in cuts.into_iter().chain([(usize::MAX, false)]) {
                let start = tracker.position().expect("it has started").clone();
                let from = usize::try_from(start.offsets[&partition].get()).expect("it is not negative");
                tracker.subscribed(start, Outcome::Resumed);
                let end = from.saturating_add(steps).min(log.len());
                for (at, matches) in log.iter().enumerate().take(end).skip(from) {
                    let at = offset(i64::try_from(at).expect("the log is short"));
                    if *matches {
                        tracker.delivered(partition, at).expect("the node keeps the order");
                        received.push(at.get());
                    } else if progress {
                        tracker.progressed(partition, at.next());
                    }
                }
            }
            let expected: Vec<_> = (0_i64..).zip(&log).filter(|(_, matches)| **matches).map(|(at, _)| at).collect();
            assert_eq!(received, expected);
        }
    }
}
