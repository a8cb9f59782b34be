//! How long what is on its way is waited for: as long as it comes.

use std::time::{Duration, Instant};

/// Waits until nothing that is missing has come for too long.
#[derive(Debug)]
pub(super) struct Patience {
    most: Duration,
    accounted: u64,
    since: Instant,
}

impl Patience {
    /// Starts to wait, and gives up once nothing has come for `most`.
    pub(super) fn new(most: Duration, accounted: u64, now: Instant) -> Self {
        Self { most, accounted, since: now }
    }

    /// Takes how many records are accounted for by now. Returns whether it makes no sense to wait for the others. A repetition
    /// accounts for nothing, so this comes to an end.
    pub(super) fn is_over(&mut self, accounted: u64, now: Instant) -> bool {
        if accounted > self.accounted {
            (self.accounted, self.since) = (accounted, now);
        }
        now - self.since >= self.most
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
        let mut patience = Patience::new(30 * second, 5, start);
        assert!(!patience.is_over(5, start + 29 * second));
        assert!(!patience.is_over(6, start + 29 * second));
        assert!(!patience.is_over(6, start + 58 * second));
        assert!(patience.is_over(6, start + 59 * second));
    }
}
