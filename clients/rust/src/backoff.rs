//! How long to wait before the next attempt.
//!
//! Full jitter: any time between nothing and a bound that doubles, so that the clients of a node that died do not come back
//! together. The random number is an argument.

use std::time::Duration;

/// How long to wait before the next attempt.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts with waits of up to `first`, growing to at most `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first: first.min(max), max, attempt: 0 }
    }

    /// Returns how long to wait before the next attempt; `random` is in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let bound = self.first.saturating_mul(2_u32.saturating_pow(self.attempt)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Takes that an attempt is made at another's word, and counts it.
    pub fn overridden(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Returns how many attempts were made since the last session that lasted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Takes how long a session lasted. One that outlived the longest wait starts the count afresh; a shorter one does not,
    /// so that a node which accepts and closes at once is not hammered.
    pub fn lasted(&mut self, session: Duration) {
        if session >= self.max {
            self.attempt = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(20);

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let bounds: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
    }

    #[test]
    fn only_a_session_that_lasted_starts_the_count_afresh() {
        let mut backoff = Backoff::new(FIRST, MAX);
        backoff.next(1.0);
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.next(1.0), FIRST * 2);
        backoff.lasted(MAX);
        assert_eq!(backoff.next(1.0), FIRST);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_maximum(attempts in 1..100_usize, random in 0.0..1.0) {
            let mut backoff = Backoff::new(FIRST, MAX);
            for _ in 0..attempts {
                assert!(backoff.next(random) <= MAX);
            }
        }
    }
}
