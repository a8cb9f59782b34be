//! Detects that a node has died.
//!
//! A node sends a message at least once per heartbeat interval. TCP alone may take a quarter of an
//! hour to notice that the other machine has disappeared.

use std::time::{Duration, Instant};

/// Detects that a node has died. Time is an argument.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    interval: Duration,
    heard: Instant,
}

impl Liveness {
    /// Expects a message at least every `interval`, which `Connected` announced.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, heard: now }
    }

    /// Records that a message arrived, or that the client did not read until now.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Returns when the node counts as dead if nothing arrives before: when the second heartbeat is
    /// half an interval late.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.heard + self.interval * 5 / 2
    }

    /// Returns whether the node counts as dead.
    #[must_use]
    pub fn is_dead(&self, now: Instant) -> bool {
        now >= self.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_dead_after_two_missed_heartbeats() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(Duration::from_secs(10), start);
        assert!(!liveness.is_dead(at(20)));
        assert!(liveness.is_dead(at(25)));

        liveness.heard(at(24));
        assert!(!liveness.is_dead(at(48)));
        assert!(liveness.is_dead(at(49)));
    }
}
