//! Checks a conflated channel: deliveries and reported skips must add up to the published records,
//! the latest record of each key must arrive, and no key more often than the maximum rate.
//!
//! Knows counts and times, not sockets. An event whose outcome is unknown may exist or not, so sums
//! have a lower and an upper bound.

use serde::{Deserialize, Serialize};

use crate::verify::Arrival;

/// What one connection received of one key on a conflated channel.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Latest {
    /// One more than the highest number received.
    pub(crate) next: u64,
    pub(crate) deliveries: u64,
    /// When the first and the last delivery arrived, in nanoseconds after the start of the
    /// schedule.
    first_ns: u64,
    last_ns: u64,
}

/// The published records of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    /// Acknowledged, so they are in Kafka.
    pub(crate) acknowledged: u64,
    /// Published without an answer, so they may be in Kafka.
    pub(crate) unknown: u64,
}

/// The balance of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Balance {
    /// Records that were neither delivered nor reported as skipped.
    pub(crate) unaccounted: u64,
    /// Deliveries and reported skips beyond the number of published records.
    pub(crate) overcounted: u64,
}

/// How many more deliveries than `max_rate` may arrive within a second because of network jitter:
/// one at the start, and those of 100 ms.
const JITTER_SECONDS: f64 = 0.1;

impl Latest {
    /// Records a delivery. A delivery that is not newer than the previous one is repeated or out of
    /// order; which of the two cannot be determined.
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

    /// Returns whether deliveries arrived faster than `max_rate` per second.
    pub(crate) fn is_over(&self, max_rate: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "times and counts of one run are far below 2^53")]
        let (deliveries, seconds) = (self.deliveries as f64, (self.last_ns - self.first_ns) as f64 / 1e9);
        deliveries > 1.0 + ((seconds + JITTER_SECONDS) * max_rate).ceil()
    }
}

impl Balance {
    /// Compares what was delivered and reported as skipped with the published records.
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
    fn deliveries_and_skips_must_add_up() {
        check(10, 0, 0, 0);
        check(3, 7, 0, 0);
        check(3, 9, 0, 0);
        check(3, 6, 1, 0);
        check(3, 10, 0, 1);
        check(0, 0, 10, 0);
    }

    proptest! {
        /// A log whose reader gets the latest record at arbitrary times, and the number of skipped
        /// records.
        #[test]
        fn the_balance_is_zero_only_for_correct_skip_counts(
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
    fn a_delivery_that_is_not_newer_is_a_repetition() {
        let mut latest = Latest::default();
        assert_eq!(latest.observe(5, 0), Arrival::InOrder);
        assert_eq!(latest.observe(5, 0), Arrival::Repeated);
        assert_eq!(latest.observe(4, 0), Arrival::Repeated);
        assert_eq!(latest.observe(6, 0), Arrival::InOrder);
    }
}
