//! When each event is due: an open loop, fixed before the first event.
//!
//! Time is an argument. A loop that falls behind sends without pausing, records its lateness, and
//! ends on time with events left over.

use std::time::Duration;

const SECOND_NS: u128 = 1_000_000_000;

/// When events are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Events per second.
    rate: u32,
    warmup: Duration,
    length: Duration,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next event has been due for this long.
    Send(Duration),
    /// No event is due for this long.
    Wait(Duration),
    /// The time is up.
    End,
}

impl Schedule {
    /// Plans `rate` events per second, at least one, for a warm-up and a measured period.
    pub(crate) fn new(rate: u32, warmup: Duration, measured: Duration) -> Self {
        Self { rate: rate.max(1), warmup, length: warmup + measured }
    }

    /// Returns what to do after `sent` events, at a time after the start.
    pub(crate) fn step(&self, sent: u64, elapsed: Duration) -> Step {
        let due = self.due(sent);
        if elapsed >= self.length || due >= self.length {
            return Step::End;
        }
        match due.checked_sub(elapsed) {
            Some(wait) if !wait.is_zero() => Step::Wait(wait),
            _ => Step::Send(elapsed.saturating_sub(due)),
        }
    }

    /// Returns whether this time after the start is in the measured period.
    pub(crate) fn measures(&self, elapsed: Duration) -> bool {
        elapsed >= self.warmup
    }

    /// Returns the number of events in the warm-up.
    pub(crate) fn before(&self) -> u64 {
        self.within(self.warmup)
    }

    pub(crate) fn events(&self) -> u64 {
        self.within(self.length)
    }

    /// Returns when an event is due after the start.
    fn due(&self, number: u64) -> Duration {
        let due = (u128::from(number) * SECOND_NS).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX))
    }

    /// Returns how many events are due before a time after the start.
    fn within(&self, time: Duration) -> u64 {
        let events = (time.as_nanos() * u128::from(self.rate)).div_ceil(SECOND_NS);
        u64::try_from(events).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn an_event_is_sent_when_it_is_due_and_not_before() {
        let schedule = Schedule::new(100, MS(50), MS(100));
        assert_eq!(schedule.step(0, MS(0)), Step::Send(MS(0)));
        assert_eq!(schedule.step(1, MS(4)), Step::Wait(MS(6)));
        assert_eq!(schedule.step(1, MS(10)), Step::Send(MS(0)));
    }

    #[test]
    fn a_late_loop_does_not_wait_and_records_its_lateness() {
        let schedule = Schedule::new(100, MS(50), MS(100));
        assert_eq!(schedule.step(3, MS(75)), Step::Send(MS(45)));
        assert_eq!(schedule.step(4, MS(75)), Step::Send(MS(35)));
    }

    #[test]
    fn it_ends_on_time_whether_or_not_everything_was_sent() {
        let schedule = Schedule::new(100, MS(50), MS(100));
        assert_eq!(schedule.step(3, MS(150)), Step::End);
        assert_eq!(schedule.step(14, MS(149)), Step::Send(MS(9)));
        assert_eq!(schedule.step(15, MS(141)), Step::End);
    }

    #[test]
    fn events_before_measuring_are_those_that_are_due_by_then() {
        let schedule = Schedule::new(100, MS(50), MS(100));
        assert_eq!((schedule.before(), schedule.events()), (5, 15));
        assert!(!schedule.measures(MS(49)));
        assert!(schedule.measures(MS(50)));
    }

    #[test]
    fn every_event_that_is_counted_is_also_due_in_time() {
        for rate in [1, 3, 7, 999, 4_001] {
            let schedule = Schedule::new(rate, MS(0), MS(3_333));
            let last = schedule.events() - 1;
            assert!(matches!(schedule.step(last, MS(0)), Step::Wait(_) | Step::Send(_)), "{rate}");
            assert_eq!(schedule.step(last + 1, MS(0)), Step::End, "{rate}");
        }
    }
}
