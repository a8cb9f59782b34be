//! The wait before the next attempt to connect.
//!
//! Full jitter: a wait is uniformly distributed between zero and a bound that doubles, so that the
//! clients of a failed node do not reconnect together. A wait that the server requests takes
//! precedence, up to a limit. The random number is an argument.

use std::time::Duration;

/// Maximum wait that a server can request: a drain takes seconds, a restart minutes.
pub(crate) const HINT_MAX: Duration = Duration::from_secs(300);

/// The wait before the next attempt to connect.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts with a bound of `first`, which doubles up to `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first: first.min(max), max, attempt: 0 }
    }

    /// Returns the wait before the next attempt, and counts the attempt. `hint` is the wait that
    /// the server requested; `random` is in `0.0..1.0`.
    ///
    /// A hint takes precedence, and is limited to 5 minutes. From the second attempt on, a hint
    /// below the first bound is ignored: otherwise a server that always requests 0 would be
    /// flooded.
    pub fn next(&mut self, hint: Option<Duration>, random: f64) -> Duration {
        let bound = self.bound();
        let hint = hint.filter(|hint| self.attempt == 0 || *hint >= self.first.max(Duration::from_nanos(1)));
        self.attempt = self.attempt.saturating_add(1);
        hint.map_or_else(|| bound.mul_f64(random.clamp(0.0, 1.0)), |hint| hint.min(HINT_MAX))
    }

    /// Returns the number of attempts since the last session that was long enough to reset it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Applies the length of a session. One of at least the longest wait resets the number of
    /// attempts; a shorter one does not, so that a node which accepts and closes at once is not
    /// flooded.
    pub fn lasted(&mut self, session: Duration) {
        if session >= self.max {
            self.attempt = 0;
        }
    }

    /// Applies the length of a session whose node drained. A drain is not a failure: a session of
    /// at least the next bound resets the number of attempts, so that the waits do not grow while
    /// the nodes of a fleet are restarted one after the other.
    pub fn served(&mut self, session: Duration) {
        if session >= self.bound() {
            self.attempt = 0;
        }
    }

    /// Returns the bound of the next wait.
    fn bound(&self) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(self.attempt)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, proptest};

    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(20);

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let bounds: Vec<_> = (0..8).map(|_| backoff.next(None, 1.0).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
    }

    #[test]
    fn only_a_long_session_resets_the_number_of_attempts() {
        let mut backoff = Backoff::new(FIRST, MAX);
        backoff.next(None, 1.0);
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.next(None, 1.0), FIRST * 2);
        backoff.lasted(MAX);
        assert_eq!(backoff.next(None, 1.0), FIRST);
    }

    #[test]
    fn the_hint_of_each_node_of_a_restarted_fleet_is_followed() {
        // The hint of the second node was ignored as too short, and the wait after the third was
        // longer than its drain.
        let mut backoff = Backoff::new(FIRST, MAX);
        let hint = Duration::from_millis(100);
        for _ in 0..10 {
            backoff.served(Duration::from_secs(3));
            assert_eq!(backoff.next(Some(hint), 1.0), hint);
        }
        // A node that drains as soon as a client has connected is not followed.
        let waits: Vec<_> = (0..3)
            .map(|_| {
                backoff.served(Duration::from_millis(50));
                backoff.next(Some(hint), 1.0)
            })
            .collect();
        assert_eq!(waits, [FIRST * 2, FIRST * 4, FIRST * 8]);
    }

    #[test]
    fn a_requested_wait_takes_precedence() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let mut next = |hint| backoff.next(hint, 1.0);
        assert_eq!(next(Some(Duration::ZERO)), Duration::ZERO, "the first hint is followed");
        let three = Duration::from_secs(3);
        assert_eq!([next(Some(three)), next(Some(FIRST)), next(None)], [three, FIRST, FIRST * 8]);
    }

    #[test]
    fn a_server_that_always_requests_no_wait_is_not_flooded() {
        // A hint of 0 replaced every wait: the client reconnected as fast as the node could answer.
        let mut backoff = Backoff::new(FIRST, MAX);
        let bounds: Vec<_> = (0..7).map(|_| backoff.next(Some(Duration::ZERO), 1.0).as_millis()).collect();
        assert_eq!(bounds, [0, 1000, 2000, 4000, 8000, 16_000, 20_000]);
    }

    #[test]
    fn a_requested_wait_is_limited() {
        // `Retry-After: 86400` made the client wait for a day.
        let mut backoff = Backoff::new(FIRST, MAX);
        assert_eq!(backoff.next(Some(Duration::MAX), 0.5), HINT_MAX);
        assert_eq!(backoff.next(Some(Duration::from_secs(86_400)), 0.5), HINT_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_wait_is_uniform_below_a_bound_that_doubles_from_half_a_second_to_twenty(
            before in proptest::collection::vec(proptest::option::of(0..600_u64), 0..40),
            random in 0.0..1.0,
        ) {
            let mut backoff = crate::Options::default().backoff();
            for hint in &before {
                let wait = backoff.next(hint.map(Duration::from_secs), random);
                assert!(wait <= hint.map_or(MAX, |_| HINT_MAX), "{wait:?}");
            }
            let doubled = 500 * 2_u64.pow(u32::try_from(before.len().min(6)).expect("it is small"));
            let bound = Duration::from_millis(doubled.min(20_000));
            assert_eq!(backoff.clone().next(None, 0.0), Duration::ZERO);
            assert_eq!(backoff.clone().next(None, 1.0), bound);
            // Uniform: the wait is the random number times the bound.
            assert_eq!(backoff.next(None, random), bound.mul_f64(random));
        }
    }
}
