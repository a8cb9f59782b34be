//! Checks that records belong to the topic that the partition's offsets refer to.
//!
//! When a topic is deleted and created again, librdkafka continues to read without an error: after
//! about 500 ms (`fetch.error.backoff.ms`) it returns records of the *new* topic, with offsets that
//! look valid. Only the topic id distinguishes them; only the pause gives a hint. So a record that
//! arrives soon after the previous one is trusted. A record after a longer silence is held until
//! Kafka, asked after its arrival, confirms the topic id.
//!
//! The fetch time is what counts, and it is only known to be later than the last moment without a
//! backlog. A feed with a backlog polls old and new records without a pause in between. It
//! therefore trusts only what a confirmation covers, and asks early enough that nothing has to be
//! held.
//!
//! Plain data; time is an argument. Records of a busy partition are not held; those of a quiet one
//! for the few milliseconds of an answer.
//!
//! Bounded: beyond `HELD_BYTES_MAX`, held records are discarded and read again once Kafka has
//! answered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::record::batch::RecordBatch;

/// Checks that records belong to the topic that the partition's offsets refer to.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    /// Lower bound of the fetch time of the last trusted record.
    trusted_at: Option<Instant>,
    held: VecDeque<HeldBatch>,
    held_bytes: usize,
    /// Whether `trusted_at` is old enough that the topic id should be confirmed again.
    expires_soon: bool,
    /// Whether held batches were discarded and have to be read again.
    has_overflowed: bool,
    /// Whether a confirmation is in progress.
    is_confirming: bool,
}

/// A batch that is held until a confirmation.
#[derive(Debug)]
struct HeldBatch {
    fetched_after: Instant,
    arrived: Instant,
    batch: RecordBatch,
}

/// What the fence needs after a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// Another confirmation, for batches that are still held.
    Confirmation,
    /// The partition has to be read again from its head.
    Reread,
}

/// What to do with a received batch.
#[derive(Debug)]
pub(crate) enum FenceDecision {
    /// Append it.
    Append(RecordBatch),
    /// Append it, and confirm the topic id soon, so that the next batches can be trusted too.
    AppendAndConfirm(RecordBatch),
    /// It is held: confirm the topic id.
    Hold,
    /// It was discarded with all held batches: read the partition again from its head.
    Overflow,
}

/// The longest silence that cannot hide a recreation: half of librdkafka's pause.
const SILENCE_MAX: Duration = Duration::from_millis(250);
/// Maximum size of the held batches of a partition, in bytes: a few milliseconds of a busy one.
const HELD_BYTES_MAX: usize = 1024 * 1024;

impl Fence {
    /// Decides on a batch that was polled at `now` and fetched after `fetched_after`.
    pub(crate) fn receive(
        &mut self,
        batch: RecordBatch,
        fetched_after: Instant,
        now: Instant,
    ) -> FenceDecision {
        if self.has_overflowed {
            // A batch before this one was discarded. Appending this one would leave a gap.
            return FenceDecision::Overflow;
        }
        if self.held.is_empty() && self.is_trusted(now) {
            let trusted_at = self.trusted_at.map_or(fetched_after, |at| at.max(fetched_after));
            self.trusted_at = Some(trusted_at);
            self.expires_soon = now.saturating_duration_since(trusted_at) > SILENCE_MAX / 2;
            return if self.expires_soon {
                FenceDecision::AppendAndConfirm(batch)
            } else {
                FenceDecision::Append(batch)
            };
        }
        if self.held_bytes + batch.memory() > HELD_BYTES_MAX && !self.held.is_empty() {
            self.discard();
            self.has_overflowed = true;
            return FenceDecision::Overflow;
        }
        self.held_bytes += batch.memory();
        self.held.push_back(HeldBatch { fetched_after, arrived: now, batch });
        FenceDecision::Hold
    }

    /// Starts a confirmation. Returns false if none is needed or one is in progress.
    pub(crate) fn begin_confirmation(&mut self) -> bool {
        let starts = (self.is_holding() || self.has_overflowed || self.expires_soon) && !self.is_confirming;
        self.is_confirming |= starts;
        starts
    }

    /// Takes a confirmation that began at `asked_at`. Returns the batches that are trusted now.
    /// Others may still be held and need another one.
    pub(crate) fn confirmed(&mut self, asked_at: Instant) -> Vec<RecordBatch> {
        self.is_confirming = false;
        self.expires_soon = false;
        self.trusted_at = self.trusted_at.max(Some(asked_at));
        let mut trusted = Vec::new();
        while let Some(held) = self.held.front()
            && self.is_trusted(held.arrived)
            && let Some(held) = self.held.pop_front()
        {
            self.trusted_at = self.trusted_at.max(Some(held.fetched_after));
            self.held_bytes -= held.batch.memory();
            trusted.push(held.batch);
        }
        trusted
    }

    /// Whether batches are held.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns what is needed after a confirmation.
    pub(crate) fn needs(&self) -> Needs {
        if self.is_holding() {
            Needs::Confirmation
        } else if !self.is_confirming && self.has_overflowed {
            Needs::Reread
        } else {
            Needs::Nothing
        }
    }

    /// Takes that Kafka did not answer: the confirmation has to be repeated.
    pub(crate) fn confirmation_failed(&mut self) -> Needs {
        self.is_confirming = false;
        Needs::Confirmation
    }

    /// Discards held batches. The partition is read again from its head, or no longer needed.
    pub(crate) fn discard(&mut self) {
        self.is_confirming = false;
        self.has_overflowed = false;
        self.held.clear();
        self.held_bytes = 0;
    }

    fn is_trusted(&self, arrived: Instant) -> bool {
        self.trusted_at.is_some_and(|trusted| arrived.saturating_duration_since(trusted) <= SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::batch::tests::batch;

    const MS: Duration = Duration::from_millis(1);

    fn firsts(batches: &[RecordBatch]) -> Vec<i64> {
        batches.iter().map(|batch| batch.first_offset().get()).collect()
    }

    fn is_trusted(arrival: &FenceDecision) -> bool {
        matches!(arrival, FenceDecision::Append(_))
    }

    /// Receives a record that is polled as soon as it was fetched.
    fn receive(fence: &mut Fence, offset: i64, now: Instant) -> FenceDecision {
        fence.receive(batch(&[(offset, "a")]), now, now)
    }

    #[test]
    fn a_feed_with_a_backlog_trusts_only_what_a_confirmation_covers() {
        // The topic was recreated while old records were in the backlog: they are polled together
        // with records of the new topic, at a steady pace.
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert_eq!(firsts(&fence.confirmed(start)), [0]);
        let mut held = 0;
        for (offset, at) in (1..).zip((10..1_000).step_by(10)) {
            let arrival = fence.receive(batch(&[(offset, "a")]), start, start + at * MS);
            held += usize::from(matches!(arrival, FenceDecision::Hold));
        }
        assert_eq!(held, 74, "records polled more than 250 ms after the last moment without a backlog");
        assert_eq!(firsts(&fence.confirmed(start + 500 * MS)).len(), 50, "the answer covers 250 ms");
        assert!(fence.is_holding());
    }

    #[test]
    fn a_feed_with_a_backlog_confirms_in_time_and_holds_nothing() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert_eq!(firsts(&fence.confirmed(start)), [0]);
        let mut asked = 0;
        for (offset, at) in (1..).zip((10..2_000).step_by(10)) {
            let (now, record) = (start + at * MS, batch(&[(offset, "a")]));
            match fence.receive(record, start, now) {
                FenceDecision::Append(_) => {}
                FenceDecision::AppendAndConfirm(_) => {
                    // The answer arrives with the next record.
                    asked += u32::from(fence.begin_confirmation());
                    assert!(fence.confirmed(now).is_empty());
                }
                other => panic!("nothing has to be held: {other:?} after {at} ms"),
            }
        }
        assert_eq!(asked, 15, "about every 130 ms");
    }

    #[test]
    fn records_after_a_silence_are_held_until_the_topic_id_is_confirmed() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        assert!(!is_trusted(&receive(&mut fence, 0, start)), "the first record is after a silence too");
        assert!(fence.begin_confirmation() && !fence.begin_confirmation(), "Kafka is asked once");
        assert_eq!(firsts(&fence.confirmed(start + MS)), [0]);
        assert!(is_trusted(&receive(&mut fence, 1, start + 200 * MS)));
        assert!(is_trusted(&receive(&mut fence, 2, start + 450 * MS)), "it is 250 ms after the one before");
        assert!(!is_trusted(&receive(&mut fence, 3, start + 701 * MS)));
    }

    #[test]
    fn batches_behind_a_held_one_are_held_too() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        for (at, offset) in [(0, 0), (1, 1), (100, 2)] {
            assert!(!is_trusted(&receive(&mut fence, offset, start + at * MS)));
        }
        assert_eq!(firsts(&fence.confirmed(start)), [0, 1, 2], "no recreation fits between them");
    }

    #[test]
    fn a_confirmation_does_not_cover_batches_received_long_after_it_began() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert!(fence.begin_confirmation());
        receive(&mut fence, 1, start + 600 * MS);
        assert_eq!(firsts(&fence.confirmed(start + MS)), [0]);
        assert!(fence.begin_confirmation(), "the second one needs a confirmation");
        assert_eq!(firsts(&fence.confirmed(start + 700 * MS)), [1]);
        assert!(!fence.begin_confirmation());
    }

    #[test]
    fn held_batches_are_bounded() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        let mut arrivals = (0..).map(|offset| receive(&mut fence, offset, start));
        let held = arrivals.by_ref().take_while(|arrival| matches!(arrival, FenceDecision::Hold)).count();
        assert!(held > 1_000, "a small record is held by the thousand, found {held}");
        assert!(fence.begin_confirmation(), "it is read again only once Kafka answers");
        assert!(fence.confirmed(start).is_empty());
        assert_eq!(fence.needs(), Needs::Reread);
        // A batch received after the discarded ones was appended, and its offsets hid the gap.
        assert!(matches!(receive(&mut fence, 1_000_000, start), FenceDecision::Overflow));
        fence.discard();
        assert_eq!(fence.needs(), Needs::Nothing);
    }
}
