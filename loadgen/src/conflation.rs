//! Whether a conflated channel is told the truth: what came and what was said to be skipped add up to what there is, the
//! latest record of each key came, and none more often than asked for.
//!
//! Knows counts and times, not sockets. An event whose outcome is unknown may be there or not, so sums have a lower and an
//! upper bound.

use serde::{Deserialize, Serialize};

use crate::verify::Arrival;

/// What came of one key on one connection, when not everything has to.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Latest {
    /// One more than the highest number that came.
    pub(crate) next: u64,
    pub(crate) deliveries: u64,
    /// When the first and the last came, in nanoseconds after the start of the schedule.
    first_ns: u64,
    last_ns: u64,
}

/// The records of a channel, as the publishers know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    /// Acknowledged, so they are in Kafka.
    pub(crate) acknowledged: u64,
    /// Published without an answer, so they may be.
    pub(crate) unknown: u64,
}

/// How far the sum of a channel is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Balance {
    /// Records that were neither delivered nor said to be skipped.
    pub(crate) unaccounted: u64,
    /// Records that were delivered or said to be skipped and are not there.
    pub(crate) overcounted: u64,
}

/// How many more than `max_rate` deliveries may arrive within a second, because the network bunches them: one at the beginning,
/// and what 100 ms hold.
const JITTER_SECONDS: f64 = 0.1;

impl Latest {
    /// Takes a delivery. What is not newer than what came before is a repetition or out of order; which, nobody can tell.
    pub(crate) fn observe(&mut self, number: u64, now_ns: u64) -> Arrival {
        if self.deliveries == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = now_ns;
        self.deliveries += 1;
        if number < self.next {
            return Arrival::Repeated;
        }
        self.next = number + 1;
        Arrival::InOrder
    }

    /// Returns whether deliveries came faster than `max_rate` per second.
    pub(crate) fn is_over(&self, max_rate: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "times and counts of one run are far below 2^53")]
        let (deliveries, seconds) = (self.deliveries as f64, (self.last_ns - self.first_ns) as f64 / 1e9);
        deliveries > 1.0 + ((seconds + JITTER_SECONDS) * max_rate).ceil()
    }
}

impl Balance {
    /// Holds what a channel was told against what there is.
    pub(crate) fn of(delivered: u64, skipped: u64, published: Published) -> Self {
        let reported = delivered + skipped;
        Self {
            unaccounted: published.acknowledged.saturating_sub(reported),
            overcounted: reported.saturating_sub(published.acknowledged + published.unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[track_caller]
    fn check(delivered: u64, skipped: u64, unaccounted: u64, overcounted: u64) {
        let published = Published { acknowledged: 10, unknown: 2 };
        assert_eq!(Balance::of(delivered, skipped, published), Balance { unaccounted, overcounted });
    }

    #[test]
    fn what_came_and_what_was_skipped_add_up() {
        check(10, 0, 0, 0);
        check(3, 7, 0, 0);
        check(3, 9, 0, 0);
        check(3, 6, 1, 0);
        check(3, 10, 0, 1);
        check(0, 0, 10, 0);
    }

    proptest! {
        /// A log whose reader is given the latest at any moments, and told how many it was not given.
        #[test]
        fn an_honest_node_is_believed_and_a_dishonest_one_is_not(
            reads in proptest::collection::vec(any::<bool>(), 1..100), lie in -3_i64..=3,
        ) {
            let (mut latest, mut skipped, mut behind) = (Latest::default(), 0_u64, 0_u64);
            let mut last = None;
            for (number, read) in (0..).zip(&reads) {
                if *read || number + 1 == reads.len() as u64 {
                    assert_eq!(latest.observe(number, number), Arrival::InOrder);
                    skipped += behind;
                    behind = 0;
                    last = Some(number);
                } else {
                    behind += 1;
                }
            }
            assert_eq!(Some(latest.next), last.map(|last| last + 1));
            let reported = skipped.saturating_add_signed(lie);
            let published = Published { acknowledged: reads.len() as u64, unknown: 0 };
            let balance = Balance::of(latest.deliveries, reported, published);
            assert_eq!(balance == Balance::default(), reported == skipped);
        }

        #[test]
        fn a_steady_pace_is_judged_by_its_rate(per_second in 10_u64..100, seconds in 2_u64..20) {
            let mut latest = Latest::default();
            for number in 0..per_second * seconds {
                latest.observe(number, number * 1_000_000_000 / per_second);
            }
            #[expect(clippy::cast_precision_loss, reason = "they are small")]
            let rate = per_second as f64;
            assert!(!latest.is_over(rate));
            assert!(latest.is_over(rate * 0.4));
        }
    }

    #[test]
    fn what_is_not_newer_is_noticed() {
        let mut latest = Latest::default();
        assert_eq!(latest.observe(5, 0), Arrival::InOrder);
        assert_eq!(latest.observe(5, 0), Arrival::Repeated);
        assert_eq!(latest.observe(4, 0), Arrival::Repeated);
        assert_eq!(latest.observe(6, 0), Arrival::InOrder);
    }
}
