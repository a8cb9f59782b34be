//! How long what is on its way is waited for: as long as it comes.

use std::time::{Duration, Instant};

/// Waits until nothing that is missing has come for too long.
#[derive(Debug)]
pub(super) struct DrainTimeout {
    limit: Duration,
    accounted: u64,
    since: Instant,
}

impl DrainTimeout {
    /// Starts to wait, and gives up once nothing has come for `limit`.
    pub(super) fn new(limit: Duration, accounted: u64, now: Instant) -> Self {
        Self { limit, accounted, since: now }
    }

    /// Takes how many records are accounted for by now. Returns whether it makes no sense to wait for the others. A repetition
    /// accounts for nothing, so this comes to an end.
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
    fn as_long_as_something_comes_nothing_is_lost() {
        // After a fixed time what was still on its way counted as lost.
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut timeout = DrainTimeout::new(30 * second, 5, start);
        assert!(!timeout.is_expired(5, start + 29 * second));
        assert!(!timeout.is_expired(6, start + 29 * second));
        assert!(!timeout.is_expired(6, start + 58 * second));
        assert!(timeout.is_expired(6, start + 59 * second));
    }
}
