//! How long to wait before the next attempt.
//!
//! Full jitter: any time between nothing and a bound that doubles, so that the clients of a node that died do not come back
//! together. A wait that the server asks for takes precedence, within a limit. The random number is an argument.

use std::time::Duration;

/// The longest wait that a server can ask for. A node's drain takes seconds, a restart minutes; whoever asks for more is
/// mistaken, or wants this client gone.
pub(crate) const HINT_MAX: Duration = Duration::from_secs(300);

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

    /// Returns how long to wait before the next attempt, and counts it. `hint` is what the server asked for; `random` is in
    /// `0.0..1.0`.
    ///
    /// A hint goes before the back-off and is cut to 5 minutes. From the second attempt on one that is shorter than the
    /// first wait's bound does not count: else a server that says 0 each time would be hammered.
    pub fn next(&mut self, hint: Option<Duration>, random: f64) -> Duration {
        let bound = self.bound();
        let hint = hint.filter(|hint| self.attempt == 0 || *hint >= self.first.max(Duration::from_nanos(1)));
        self.attempt = self.attempt.saturating_add(1);
        hint.map_or_else(|| bound.mul_f64(random.clamp(0.0, 1.0)), |hint| hint.min(HINT_MAX))
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

    /// Takes how long a session lasted whose node asked in good order to be left. That is no failure: one that outlived the next
    /// wait starts the count afresh, so that a client which every node of a fleet sends away within a minute, because they are
    /// restarted one after the other, does not wait longer each time.
    pub fn served(&mut self, session: Duration) {
        if session >= self.bound() {
            self.attempt = 0;
        }
    }

    /// Returns the longest that the next wait can be.
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
    fn only_a_session_that_lasted_starts_the_count_afresh() {
        let mut backoff = Backoff::new(FIRST, MAX);
        backoff.next(None, 1.0);
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.next(None, 1.0), FIRST * 2);
        backoff.lasted(MAX);
        assert_eq!(backoff.next(None, 1.0), FIRST);
    }

    #[test]
    fn a_fleet_that_is_restarted_node_by_node_is_believed_each_time() {
        // The second node's hint was too short to count, and the third's wait longer than its drain.
        let mut backoff = Backoff::new(FIRST, MAX);
        let hint = Duration::from_millis(100);
        for _ in 0..10 {
            backoff.served(Duration::from_secs(3));
            assert_eq!(backoff.next(Some(hint), 1.0), hint);
        }
        // A node that sends its clients away as soon as they have come is not.
        let waits: Vec<_> = (0..3)
            .map(|_| {
                backoff.served(Duration::from_millis(50));
                backoff.next(Some(hint), 1.0)
            })
            .collect();
        assert_eq!(waits, [FIRST * 2, FIRST * 4, FIRST * 8]);
    }

    #[test]
    fn what_the_server_asks_for_goes_before_the_back_off() {
        let mut backoff = Backoff::new(FIRST, MAX);
        let mut next = |hint| backoff.next(hint, 1.0);
        assert_eq!(next(Some(Duration::ZERO)), Duration::ZERO, "the first time at its word");
        let three = Duration::from_secs(3);
        assert_eq!([next(Some(three)), next(Some(FIRST)), next(None)], [three, FIRST, FIRST * 8]);
    }

    #[test]
    fn a_server_that_asks_for_no_wait_each_time_is_not_hammered() {
        // A hint of 0 replaced every wait: a node that took the client and sent it away at once was asked as fast as it
        // could answer.
        let mut backoff = Backoff::new(FIRST, MAX);
        let bounds: Vec<_> = (0..7).map(|_| backoff.next(Some(Duration::ZERO), 1.0).as_millis()).collect();
        assert_eq!(bounds, [0, 1000, 2000, 4000, 8000, 16_000, 20_000]);
    }

    #[test]
    fn nobody_can_send_a_client_away_for_a_day() {
        // `Retry-After: 86400` did.
        let mut backoff = Backoff::new(FIRST, MAX);
        assert_eq!(backoff.next(Some(Duration::MAX), 0.5), HINT_MAX);
        assert_eq!(backoff.next(Some(Duration::from_secs(86_400)), 0.5), HINT_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_wait_is_anything_up_to_a_bound_that_doubles_from_half_a_second_to_twenty(
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
            // Anything between is as likely: the wait is the random number's share of the bound.
            assert_eq!(backoff.next(None, random), bound.mul_f64(random));
        }
    }
}
