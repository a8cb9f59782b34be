//! How fast pages may be read: a token bucket that is paid afterwards.
//!
//! Plain code, time is an argument. How large a page is, is known once it was read; so a reader reads when nothing is owed,
//! and what it has read is owed then. Readers share one.
//!
//! Invariant: in any stretch of time, what is read is at most the rate times its length, and a burst, and a page for each
//! reader.

use std::time::{Duration, Instant};

/// How fast pages may be read.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// 0: as fast as Kafka gives them.
    bytes_per_second_max: u64,
    /// When all that was read will have been paid for.
    next_read_at: Option<Instant>,
}

/// What was not read in this time before may be read at once. Longer than a thread oversleeps, and short enough to be
/// nothing on a network.
const BURST: Duration = Duration::from_millis(100);

impl RateLimiter {
    pub(super) fn new(bytes_per_second_max: u64) -> Self {
        Self { bytes_per_second_max, next_read_at: None }
    }

    /// Returns how long to wait before the next page is read.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next_read_at.map_or(Duration::ZERO, |next_read_at| next_read_at.saturating_duration_since(now))
    }

    /// Notes that so many bytes were read.
    pub(super) fn record(&mut self, bytes: usize, now: Instant) {
        let Some(nanos) = (bytes as u64).saturating_mul(1_000_000_000).checked_div(self.bytes_per_second_max)
        else {
            return;
        };
        // Without anything owed, the time that was not used counts up to the burst.
        let unused = now.checked_sub(BURST).unwrap_or(now);
        let from = self.next_read_at.map_or(unused, |next_read_at| next_read_at.max(unused));
        self.next_read_at = Some(from + Duration::from_nanos(nanos));
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, proptest},
    };

    use super::*;

    #[test]
    fn without_a_bound_nobody_waits() {
        let (mut rate, now) = (RateLimiter::new(0), Instant::now());
        rate.record(usize::MAX, now);
        assert_eq!(rate.wait(now), Duration::ZERO);
    }

    #[test]
    fn what_was_read_is_waited_for() {
        let (mut rate, now) = (RateLimiter::new(1_000), Instant::now());
        rate.record(100, now);
        assert_eq!(rate.wait(now), Duration::ZERO, "a burst is free");
        rate.record(500, now);
        assert_eq!(rate.wait(now), Duration::from_millis(500));
        assert_eq!(rate.wait(now + Duration::from_millis(500)), Duration::ZERO);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Two readers that read as soon as they may, each with pages of some size that take some time, and now and then
        /// nothing to read.
        #[test]
        fn in_no_stretch_of_time_is_more_read_than_the_rate_allows(
            per_second in 1_000..1_000_000_u64,
            pages in vec((1..300_000_usize, 0..50_u64, 0..300_u64), 1..60),
        ) {
            let (mut rate, start) = (RateLimiter::new(per_second), Instant::now());
            let mut readers = [start; 2];
            let mut read: Vec<(Duration, usize)> = Vec::new();
            for (bytes, took, idle) in pages {
                readers.sort_unstable();
                let now = readers[0];
                let begun = now + rate.wait(now);
                if begun > now {
                    // Somebody else may read in between: this one looks again then.
                    readers[0] = begun;
                    continue;
                }
                let done = begun + Duration::from_millis(took);
                rate.record(bytes, done);
                read.push((done - start, bytes));
                readers[0] = done + Duration::from_millis(idle);
            }
            read.sort_unstable();
            for first in 0..read.len() {
                let mut sum = 0;
                for (at, bytes) in &read[first..] {
                    sum += *bytes as u64;
                    let seconds = (*at - read[first].0 + BURST).as_secs_f64();
                    // A page for each reader: one is owed when a stretch begins, one is read when it ends.
                    let most = seconds * per_second as f64 + 2.0 * 300_000.0;
                    assert!(sum as f64 <= most + 1.0, "{sum} bytes in {seconds} s");
                }
            }
        }
    }
}
