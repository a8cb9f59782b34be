//! The rate limit of catch-up: a token bucket that is charged after the read.
//!
//! Plain code; time is an argument. The size of a page is known only after it was read, so a page
//! may be read when nothing is owed, and its size is charged then. All readers share one limiter.
//!
//! Invariant: in any period, the bytes read are at most the rate times its length, plus a burst,
//! plus one page for each reader.

use std::time::{Duration, Instant};

/// Limits the rate at which pages are read.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// 0 for no limit.
    bytes_per_second_max: u64,
    /// Time at which everything read so far will be within the rate.
    next_read_at: Option<Instant>,
}

/// Unused time that may be made up for at once. Longer than a thread oversleeps, and negligible for
/// a network.
const BURST: Duration = Duration::from_millis(100);

impl RateLimiter {
    pub(super) fn new(bytes_per_second_max: u64) -> Self {
        Self { bytes_per_second_max, next_read_at: None }
    }

    /// Returns the time to wait before the next page may be read.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next_read_at.map_or(Duration::ZERO, |next_read_at| next_read_at.saturating_duration_since(now))
    }

    /// Charges bytes that were read.
    pub(super) fn record(&mut self, bytes: usize, now: Instant) {
        let Some(nanos) = (bytes as u64).saturating_mul(1_000_000_000).checked_div(self.bytes_per_second_max)
        else {
            return;
        };
        // If nothing is owed, unused time is credited up to the burst.
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
    fn without_a_limit_no_reader_waits() {
        let (mut rate, now) = (RateLimiter::new(0), Instant::now());
        rate.record(usize::MAX, now);
        assert_eq!(rate.wait(now), Duration::ZERO);
    }

    #[test]
    fn bytes_that_were_read_delay_the_next_page() {
        let (mut rate, now) = (RateLimiter::new(1_000), Instant::now());
        rate.record(100, now);
        assert_eq!(rate.wait(now), Duration::ZERO, "a burst is free");
        rate.record(500, now);
        assert_eq!(rate.wait(now), Duration::from_millis(500));
        assert_eq!(rate.wait(now + Duration::from_millis(500)), Duration::ZERO);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Two readers that read as soon as allowed, pages of various sizes and durations, with
        /// idle times in between.
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
                    // Another reader may read meanwhile, so this one asks again.
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
                    // One page for each reader: one is owed at the beginning of the period, one is
                    // read at its end.
                    let most = seconds * per_second as f64 + 2.0 * 300_000.0;
                    assert!(sum as f64 <= most + 1.0, "{sum} bytes in {seconds} s");
                }
            }
        }
    }
}
