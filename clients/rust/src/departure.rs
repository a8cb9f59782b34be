//! The schedule of a client that leaves a draining node.
//!
//! The client waits as the node requested, and opens its next connection while it still reads the
//! current one. If that fails it retries with back-off. At the node's deadline it leaves, even
//! without another connection.
//!
//! Invariant: one attempt at a time, and none after the deadline.

use std::time::{Duration, Instant};

use tailcast_proto::push::v1::Goaway;

/// The schedule of a client that leaves a draining node. Time is an argument; waits come from
/// [`Backoff`](crate::Backoff).
#[derive(Debug, Clone)]
pub struct Departure {
    detail: String,
    /// `None`: the node gave no deadline; the client leaves once another connection is ready.
    deadline: Option<Instant>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waiting for the next attempt until this time.
    Waiting(Instant),
    /// An attempt is in progress, or has succeeded and the connection is not ready to take over.
    Attempting,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Open the next connection.
    Attempt,
    /// Leave: the node is about to close.
    Leave,
}

impl Departure {
    /// Starts with an attempt after `wait`.
    #[must_use]
    pub fn new(goaway: &Goaway, wait: Duration, now: Instant) -> Self {
        let stage = Stage::Waiting(now + wait);
        Self { detail: goaway.detail.clone(), deadline: deadline(goaway, now), stage }
    }

    /// Applies a repeated `Goaway`, which replaces the deadline and not the wait.
    pub fn updated(&mut self, goaway: &Goaway, now: Instant) {
        self.deadline = deadline(goaway, now);
    }

    /// Returns the action that is due at `now`. [`Departure::attempting`] records an attempt.
    #[must_use]
    pub fn duty(&self, now: Instant) -> Option<Duty> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Duty::Leave);
        }
        matches!(self.stage, Stage::Waiting(until) if now >= until).then_some(Duty::Attempt)
    }

    /// Returns when the next action is due.
    #[must_use]
    pub fn next_duty(&self) -> Option<Instant> {
        let until = if let Stage::Waiting(until) = self.stage { Some(until) } else { None };
        [until, self.deadline].into_iter().flatten().min()
    }

    /// Records that an attempt has begun.
    pub fn attempting(&mut self) {
        self.stage = Stage::Attempting;
    }

    /// Records that the attempt failed, or that its connection cannot take over. The next attempt
    /// is after `wait`.
    pub fn failed(&mut self, wait: Duration, now: Instant) {
        self.stage = Stage::Waiting(now + wait);
    }

    /// Returns the remaining wait before the next attempt; zero during an attempt.
    #[must_use]
    pub fn wait_left(&self, now: Instant) -> Duration {
        match self.stage {
            Stage::Waiting(until) => until.saturating_duration_since(now),
            Stage::Attempting => Duration::ZERO,
        }
    }

    /// Returns the node's reason as text.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

fn deadline(goaway: &Goaway, now: Instant) -> Option<Instant> {
    (goaway.deadline_ms > 0).then(|| now + Duration::from_millis(goaway.deadline_ms.into()))
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, proptest},
    };

    use super::*;
    use crate::Backoff;

    fn goaway(deadline_ms: u32) -> Goaway {
        Goaway { retry_after_ms: 0, deadline_ms, detail: "drain".into() }
    }

    #[test]
    fn the_next_connection_is_opened_after_the_wait_and_the_node_left_at_the_deadline() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut departure = Departure::new(&goaway(100), Duration::from_millis(40), start);
        assert_eq!((departure.duty(at(39)), departure.next_duty()), (None, Some(at(40))));
        assert_eq!(departure.duty(at(40)), Some(Duty::Attempt));
        departure.attempting();
        assert_eq!((departure.duty(at(40)), departure.next_duty()), (None, Some(at(100))));
        departure.failed(Duration::from_millis(20), at(60));
        assert_eq!((departure.duty(at(79)), departure.duty(at(80))), (None, Some(Duty::Attempt)));
        assert_eq!(departure.wait_left(at(70)), Duration::from_millis(10));
        assert_eq!(departure.duty(at(100)), Some(Duty::Leave));
    }

    #[test]
    fn without_a_deadline_the_node_is_left_once_another_is_ready() {
        let start = Instant::now();
        let mut departure = Departure::new(&goaway(0), Duration::ZERO, start);
        departure.attempting();
        assert_eq!((departure.duty(start + Duration::from_secs(3600)), departure.next_duty()), (None, None));
        departure.updated(&goaway(10), start);
        assert_eq!(departure.next_duty(), Some(start + Duration::from_millis(10)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Attempts that take some time and fail, against a clock that jumps from one duty to the
        /// next.
        #[test]
        fn attempts_keep_their_distance_and_end_at_the_deadline(
            deadline_ms in 1..120_000_u32,
            hint_ms in 0..20_000_u64,
            attempts in vec((0..15_000_u64, proptest::option::of(0..10_u64), 0.0..1.0), 1..30),
        ) {
            let start = Instant::now();
            let deadline = start + Duration::from_millis(deadline_ms.into());
            let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20));
            let wait = backoff.next(Some(Duration::from_millis(hint_ms)), 0.5);
            assert_eq!(wait.as_millis(), u128::from(hint_ms), "the first hint is followed");
            let mut departure = Departure::new(&goaway(deadline_ms), wait, start);
            let (mut now, mut not_before) = (start, start + wait);
            for (takes_ms, hint, random) in attempts {
                let next = departure.next_duty().expect("there is a deadline");
                assert!(next <= deadline && next >= now, "the clock does not go back");
                now = next;
                match departure.duty(now).expect("it is due") {
                    Duty::Leave => {
                        assert_eq!(now, deadline);
                        return Ok(());
                    }
                    Duty::Attempt => assert!(now >= not_before && now < deadline),
                }
                departure.attempting();
                assert_eq!(departure.duty(now), None, "one attempt at a time");
                now += Duration::from_millis(takes_ms);
                if now >= deadline {
                    assert_eq!(departure.duty(deadline), Some(Duty::Leave));
                    return Ok(());
                }
                let wait = backoff.next(hint.map(Duration::from_secs), random);
                departure.failed(wait, now);
                not_before = now + wait;
                assert_eq!(departure.wait_left(now), wait);
            }
        }
    }
}
