//! The minimum time between two services of a session, so that the records of that time go out in
//! one message.
//!
//! Zero while the node has time: then every delivery goes out at once. The larger the share of the
//! machine that fan-out uses, the longer the pause: a write costs some microseconds whatever its
//! size, so a busy node reduces its load by fewer and larger writes. A session that gets a record
//! once in a while is never delayed.
//!
//! Interrupt moderation of network cards is the precedent (Mogul and Ramakrishnan, "Eliminating
//! receive livelock in an interrupt-driven kernel", 1997; Linux calls it DIM).
//!
//! Plain rules; time is an argument.

use std::time::{Duration, Instant};

/// The minimum time between two services of a session.
#[derive(Debug)]
pub(crate) struct Pace {
    max: Duration,
    cores: f64,
    pause: Duration,
    /// Since when work is being added up, and what there was of it.
    since: Instant,
    busy: Duration,
}

/// How long work is added up before it counts.
const SPAN: Duration = Duration::from_millis(20);
/// The part of all cores from which on there are pauses.
const SHARE_LOW: f64 = 0.05;
/// The part of all cores from which on the pause is the maximum.
const SHARE_HIGH: f64 = 0.15;

impl Pace {
    /// Starts without a pause. It never is longer than `max`.
    pub(super) fn new(max: Duration, cores: usize, now: Instant) -> Self {
        let cores = u32::try_from(cores).map_or(1.0, f64::from);
        Self { max, cores, pause: Duration::ZERO, since: now, busy: Duration::ZERO }
    }

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// Adds the time for which a thread has just worked. Returns whether the pause was set again.
    pub(super) fn worked(&mut self, now: Instant, busy: Duration) -> bool {
        self.busy += busy;
        let span = now.saturating_duration_since(self.since);
        if span < SPAN {
            return false;
        }
        let share = self.busy.as_secs_f64() / (span.as_secs_f64() * self.cores);
        let goal = self.max.mul_f64(((share - SHARE_LOW) / (SHARE_HIGH - SHARE_LOW)).clamp(0.0, 1.0));
        // Half of the way: a longer pause is less work, and the two would swing.
        self.pause = (self.pause + goal) / 2;
        (self.since, self.busy) = (now, Duration::ZERO);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(16);

    /// Runs a node whose fan-out costs `cost` each time that it serves all sessions, as often as
    /// pause and events allow.
    fn settled(cost: Duration, between_events: Duration) -> Duration {
        let mut now = Instant::now();
        let mut pace = Pace::new(MAX, 2, now);
        for _ in 0..1_000 {
            now += pace.pause().max(between_events).max(cost);
            pace.worked(now, cost);
        }
        pace.pause()
    }

    #[test]
    fn a_node_that_has_time_has_no_pause() {
        assert_eq!(settled(Duration::from_micros(90), Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn the_pause_grows_with_the_work_up_to_its_bound() {
        let of = |cost_us: u64| settled(Duration::from_micros(cost_us), Duration::from_micros(100));
        let pauses = [20, 100, 1_000, 100_000].map(of);
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert!(pauses[1] > Duration::ZERO && pauses[2] < MAX, "{pauses:?}");
        assert!(pauses[3] > MAX.mul_f64(0.99), "{pauses:?}");
    }

    #[test]
    fn without_a_bound_above_zero_there_is_no_pause() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, 1, now);
        assert!(pace.worked(now + SPAN, SPAN));
        assert_eq!(pace.pause(), Duration::ZERO);
    }
}
