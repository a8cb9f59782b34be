//! How long to wait for missing deliveries: as long as they keep arriving.

use std::time::{Duration, Instant};

/// Expires when no missing delivery has arrived for too long.
#[derive(Debug)]
pub(super) struct DrainTimeout {
    limit: Duration,
    accounted: u64,
    since: Instant,
}

impl DrainTimeout {
    /// Starts the timeout, which expires when nothing has arrived for `limit`.
    pub(super) fn new(limit: Duration, accounted: u64, now: Instant) -> Self {
        Self { limit, accounted, since: now }
    }

    /// Updates the number of records accounted for. Returns whether the timeout has expired.
    /// Repetitions account for nothing, so it always expires eventually.
    pub(super) fn is_expired(&mut self, accounted: u64, now: Instant) -> bool {
        if accounted > self.accounted {
            (self.accounted, self.since) = (accounted, now);
        }
        now - self.since >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_restarts_while_deliveries_arrive() {
        // Deliveries that were still arriving after a fixed time used to count as lost.
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut timeout = DrainTimeout::new(30 * second, 5, start);
        assert!(!timeout.is_expired(5, start + 29 * second));
        assert!(!timeout.is_expired(6, start + 29 * second));
        assert!(!timeout.is_expired(6, start + 58 * second));
        assert!(timeout.is_expired(6, start + 59 * second));
    }
}
