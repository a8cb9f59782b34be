//! Whether records that arrive are of the topic that the offsets belong to.
//!
//! A topic that is deleted and created again is read on by librdkafka as if nothing had happened: after some 500 ms
//! (`fetch.error.backoff.ms`) the *new* topic's records come with offsets that look right. Only the topic id tells, and
//! only the pause gives a hint. So what arrives soon after the record before is of the same topic; what arrives after a
//! longer silence is held until an answer to a question asked after its arrival confirms the id.
//!
//! What counts is when a record was fetched, and that is only known to be after the moment at which everything fetched until
//! then had been taken. So a feed that is behind, and takes old and new records one right behind the other, trusts nothing
//! that an answer does not speak for; it asks in time, so that it need not hold.
//!
//! Plain data; time is an argument. A busy partition is never held, a quiet one for the few milliseconds of an answer.
//!
//! Bounded: beyond `HELD_BYTES_MAX` what is held is given up, and read again once Kafka answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::record::batch::RecordBatch;

/// Whether records that arrive are of the topic that the offsets belong to.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    /// After when the last record was fetched that is known to be of the topic.
    trusted_at: Option<Instant>,
    held: VecDeque<HeldBatch>,
    held_bytes: usize,
    /// What is trusted rests on an answer, or on a moment without a backlog, that will soon be too old.
    expires_soon: bool,
    /// What was held was given up, and has to be read again.
    has_overflowed: bool,
    /// Kafka is being asked.
    is_asking: bool,
}

/// A batch that waits for an answer.
#[derive(Debug)]
struct HeldBatch {
    fetched_after: Instant,
    arrived: Instant,
    batch: RecordBatch,
}

/// What the fence needs after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// Something is held, and has to be asked for.
    Confirmation,
    /// The partition has to be read again from its head.
    Reread,
}

/// What to do with a batch that arrived.
#[derive(Debug)]
pub(crate) enum FenceDecision {
    /// Append it.
    Append(RecordBatch),
    /// Append it, and ask Kafka for the topic's id, so that the next ones can be trusted too.
    AppendAndConfirm(RecordBatch),
    /// It is held; ask Kafka for the topic's id.
    Hold,
    /// What was held is given up: read the partition again from its head.
    Overflow,
}

/// A silence that a recreation cannot hide in, at half of librdkafka's pause.
const SILENCE_MAX: Duration = Duration::from_millis(250);
/// What one partition may hold, in bytes: some milliseconds of a busy one.
const HELD_BYTES_MAX: usize = 1024 * 1024;

impl Fence {
    /// Takes a batch that was taken at `now` and fetched after `fetched_after`.
    pub(crate) fn receive(
        &mut self,
        batch: RecordBatch,
        fetched_after: Instant,
        now: Instant,
    ) -> FenceDecision {
        if self.has_overflowed {
            // Something before it was given up: until that is read again, this would leave a gap.
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

    /// Begins to ask Kafka. Returns whether there is something to ask for, and nobody asks yet.
    pub(crate) fn begin_confirmation(&mut self) -> bool {
        let asks = (self.is_holding() || self.has_overflowed || self.expires_soon) && !self.is_asking;
        self.is_asking |= asks;
        asks
    }

    /// Takes the answer to a question asked at `asked_at`, that the id is the same. Returns what is trusted now; something
    /// may still be held, and has to be asked for.
    pub(crate) fn confirmed(&mut self, asked_at: Instant) -> Vec<RecordBatch> {
        self.is_asking = false;
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

    /// Whether something is held.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns what is needed after an answer.
    pub(crate) fn needs(&self) -> Needs {
        if self.is_holding() {
            Needs::Confirmation
        } else if !self.is_asking && self.has_overflowed {
            Needs::Reread
        } else {
            Needs::Nothing
        }
    }

    /// There was no answer: it has to be asked again.
    pub(crate) fn confirmation_failed(&mut self) -> Needs {
        self.is_asking = false;
        Needs::Confirmation
    }

    /// Drops what is held: the partition is read again from its head, or not at all any more.
    pub(crate) fn discard(&mut self) {
        self.is_asking = false;
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

    /// A record that is taken as soon as it is fetched.
    fn receive(fence: &mut Fence, offset: i64, now: Instant) -> FenceDecision {
        fence.receive(batch(&[(offset, "a")]), now, now)
    }

    #[test]
    fn a_feed_that_is_behind_trusts_only_what_an_answer_speaks_for() {
        // A recreation that happened while old records waited: they are taken one right behind the other with the new
        // topic's, and nothing in their pace tells.
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert_eq!(firsts(&fence.confirmed(start)), [0]);
        let mut held = 0;
        for (offset, at) in (1..).zip((10..1_000).step_by(10)) {
            let arrival = fence.receive(batch(&[(offset, "a")]), start, start + at * MS);
            held += usize::from(matches!(arrival, FenceDecision::Hold));
        }
        assert_eq!(held, 74, "what was taken more than 250 ms after the last moment without a backlog");
        assert_eq!(firsts(&fence.confirmed(start + 500 * MS)).len(), 50, "the answer speaks for 250 ms");
        assert!(fence.is_holding());
    }

    #[test]
    fn a_feed_that_is_behind_asks_in_time_and_holds_nothing() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert_eq!(firsts(&fence.confirmed(start)), [0]);
        let mut asked = 0;
        for (offset, at) in (1..).zip((10..2_000).step_by(10)) {
            let (now, record) = (start + at * MS, batch(&[(offset, "a")]));
            match fence.receive(record, start, now) {
                FenceDecision::Append(_) => {}
                FenceDecision::AppendAndConfirm(_) => {
                    // The answer comes with the next record.
                    asked += u32::from(fence.begin_confirmation());
                    assert!(fence.confirmed(now).is_empty());
                }
                other => panic!("nothing has to be held: {other:?} after {at} ms"),
            }
        }
        assert_eq!(asked, 15, "about every 130 ms");
    }

    #[test]
    fn what_arrives_after_a_silence_is_held_until_the_id_is_confirmed() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        assert!(!is_trusted(&receive(&mut fence, 0, start)), "the first record is after a silence too");
        assert!(fence.begin_confirmation() && !fence.begin_confirmation(), "Kafka is asked once");
        assert_eq!(firsts(&fence.confirmed(start + MS)), [0]);
        assert!(is_trusted(&receive(&mut fence, 1, start + 200 * MS)));
        assert!(is_trusted(&receive(&mut fence, 2, start + 450 * MS)), "it is 250 ms after the one before");
        assert!(!is_trusted(&receive(&mut fence, 3, start + 701 * MS)));
    }

    #[test]
    fn what_is_behind_something_held_is_held_too() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        for (at, offset) in [(0, 0), (1, 1), (100, 2)] {
            assert!(!is_trusted(&receive(&mut fence, offset, start + at * MS)));
        }
        assert_eq!(firsts(&fence.confirmed(start)), [0, 1, 2], "no recreation fits between them");
    }

    #[test]
    fn an_answer_does_not_speak_for_what_arrived_long_after_its_question() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        receive(&mut fence, 0, start);
        assert!(fence.begin_confirmation());
        receive(&mut fence, 1, start + 600 * MS);
        assert_eq!(firsts(&fence.confirmed(start + MS)), [0]);
        assert!(fence.begin_confirmation(), "the second one has to be asked for");
        assert_eq!(firsts(&fence.confirmed(start + 700 * MS)), [1]);
        assert!(!fence.begin_confirmation());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut fence, start) = (Fence::default(), Instant::now());
        let mut arrivals = (0..).map(|offset| receive(&mut fence, offset, start));
        let held = arrivals.by_ref().take_while(|arrival| matches!(arrival, FenceDecision::Hold)).count();
        assert!(held > 1_000, "a small record is held by the thousand, found {held}");
        assert!(fence.begin_confirmation(), "it is read again only once Kafka answers");
        assert!(fence.confirmed(start).is_empty());
        assert_eq!(fence.needs(), Needs::Reread);
        // What came behind what was given up was appended, and its offsets hid the gap.
        assert!(matches!(receive(&mut fence, 1_000_000, start), FenceDecision::Overflow));
        fence.discard();
        assert_eq!(fence.needs(), Needs::Nothing);
    }
}
