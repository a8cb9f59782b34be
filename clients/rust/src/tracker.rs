//! Where one subscription is.
//!
//! Deliveries, progress and skips move the position forward; it is what a reconnect asks for. The tracker also checks what it
//! is told: a delivery below the position would be a repetition or out of order, and is an error.
//!
//! Invariant: offsets of a partition only grow, but for a truncated log, whose offsets are given out again.

use std::{collections::BTreeMap, mem};

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
#[error("offset {offset} of partition {partition} is repeated or out of order; expected {next}")]
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

    /// Returns whether a node that starts the subscription so goes on where this is: it delivers everything from here on, and
    /// perhaps something from before.
    #[must_use]
    pub fn continues_from(&self, start: &Position, outcome: Outcome) -> bool {
        let Some(position) = self.position() else { return false };
        let resumed = matches!(outcome, Outcome::Resumed | Outcome::CatchingUp);
        let from = |partition| start.offsets.get(partition);
        let covered =
            position.offsets.iter().all(|(partition, at)| from(partition).is_some_and(|from| from <= at));
        resumed && position.epoch == start.epoch && covered
    }

    /// Takes that another connection, which is where `other` is, serves the subscription from here on. The larger offset
    /// counts.
    pub fn merge(&mut self, other: &Self) {
        let before = mem::replace(self, other.clone());
        if before.stage == Stage::Tracking && self.stage == Stage::Tracking {
            self.keep(before.position);
        }
    }

    /// Returns the next offset of a partition, where one is known.
    #[must_use]
    pub fn next(&self, partition: PartitionId) -> Option<Offset> {
        self.position.offsets.get(&partition).copied()
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

    /// Takes that the channel's one key is in another partition than the position says, because the topic got more. From
    /// here on the position says what it knows: the epoch, and how many partitions there were, so that a node starts a younger
    /// partition at its first record. Returns whether that makes a difference to asking again.
    pub fn key_moved(&mut self) -> bool {
        let knows = self.stage == Stage::Tracking && self.position.partition_count.is_some();
        let moved = knows && !self.spans && !self.position.offsets.is_empty();
        if moved {
            self.position.offsets.clear();
        }
        moved
    }

    /// Takes the end of a snapshot: from here on there is a position.
    pub fn snapshot_ended(&mut self, position: Position) {
        let before = mem::replace(&mut self.position, position);
        self.stage = Stage::Tracking;
        for (partition, next) in before.offsets {
            self.advance(partition, next);
        }
    }

    /// Takes a node's last word before it closes: everything before this position was delivered or skipped.
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
            // A channel that is one key may have moved: it is where the node says, and nowhere else.
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
        assert!(!tracker.progressed(partition, offset(50)), "the larger counts");
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
    fn a_truncated_log_gives_its_offsets_out_again() {
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
    fn a_key_that_moved_is_where_the_node_says_and_nowhere_else() {
        let mut tracker = tracker("quotes/A", "1:5", Outcome::Live);
        tracker.subscribed("3:0".parse().expect("a position"), Outcome::Resumed);
        check(&tracker, "3:0");
    }

    #[test]
    fn a_node_that_resumes_too_early_is_found_out() {
        let mut tracker = tracker("quotes/A", "0:5", Outcome::Live);
        tracker.subscribed("0:3".parse().expect("a position"), Outcome::Resumed);
        check(&tracker, "0:5");
        assert!(tracker.delivered(PartitionId::new(0), offset(3)).is_err());
        tracker.subscribed("0:3".parse().expect("a position"), Outcome::Lost);
        check(&tracker, "0:3");
    }

    proptest! {
        /// A log of one partition, of which the channel has some records; a node that delivers from the position, says
        /// progress now and then, and is cut at any moment.
        #[test]
        fn whatever_cuts_the_connection_every_record_comes_once(
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
                        tracker.delivered(partition, at).expect("the node keeps order");
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
