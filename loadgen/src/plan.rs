//! The whole run as arithmetic: when each event is due, on which lane, for which key.
//!
//! An open loop: the plan is fixed before the first event and never changes, so a delayed event is
//! late, and its latency shows it. Events take the lanes in turn, and each lane takes its own keys
//! in turn, so the events of a key stay on one lane and in order.

use std::time::Duration;

use crate::payload::Event;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Events per second.
    rate: u64,
    keys: u64,
    lanes: u64,
    events: u64,
}

impl Plan {
    /// Plans `rate` events per second for a time. There are at most as many lanes as keys.
    pub(crate) fn new(rate: u32, keys: u32, lanes: u32, length: Duration) -> Self {
        let keys = u64::from(keys.max(1));
        let rate = u64::from(rate.max(1));
        let events = u128::from(rate) * length.as_nanos() / 1_000_000_000;
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        Self { rate, keys, lanes: u64::from(lanes).clamp(1, keys), events }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn lanes(&self) -> u64 {
        self.lanes
    }

    /// Returns when an event is due, in nanoseconds after the start.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        let due = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Returns how many events are due by a time after the start.
    pub(crate) fn due_by(&self, elapsed: Duration) -> u64 {
        // Event n is due at floor(n / rate), so those with n * 10^9 < (elapsed + 1 ns) * rate are.
        let due = ((elapsed.as_nanos() + 1) * u128::from(self.rate)).div_ceil(1_000_000_000);
        u64::try_from(due).unwrap_or(u64::MAX).min(self.events)
    }

    /// Returns how many of the first `events` events are on a lane.
    pub(crate) fn on_lane(&self, lane: u64, events: u64) -> u64 {
        (events + self.lanes - 1 - lane) / self.lanes
    }

    /// Returns the number of an event by its lane and its index there.
    pub(crate) fn number(&self, lane: u64, index: u64) -> u64 {
        index * self.lanes + lane
    }

    /// Returns an event by its number.
    pub(crate) fn event(&self, number: u64) -> Event {
        let (lane, index) = (number % self.lanes, number / self.lanes);
        let keys = self.keys_of(lane);
        let key = (index % keys) * self.lanes + lane;
        Event {
            key: u32::try_from(key).expect("a key's number is below the count of keys, which is a u32"),
            sequence: index / keys,
            at_ns: self.due_ns(number),
        }
    }

    /// Returns the number of an event by its key and its index there.
    pub(crate) fn number_of(&self, key: u32, sequence: u64) -> u64 {
        let (lane, place) = (u64::from(key) % self.lanes, u64::from(key) / self.lanes);
        self.number(lane, sequence * self.keys_of(lane) + place)
    }

    /// Returns the number of events of a key.
    pub(crate) fn count(&self, key: u32) -> u64 {
        self.count_among(key, self.events)
    }

    /// Returns how many of the first `events` events belong to a key.
    pub(crate) fn count_among(&self, key: u32, events: u64) -> u64 {
        let (lane, place) = (u64::from(key) % self.lanes, u64::from(key) / self.lanes);
        let keys = self.keys_of(lane);
        (self.on_lane(lane, events) + keys - 1 - place) / keys
    }

    fn keys_of(&self, lane: u64) -> u64 {
        (self.keys + self.lanes - 1 - lane) / self.lanes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn every_event_has_its_own_place_and_key_order_is_time_order(
            rate in 1_u32..5000, keys in 1_u32..50, lanes in 1_u32..60,
        ) {
            let plan = Plan::new(rate, keys, lanes, Duration::from_secs(1));
            assert_eq!(plan.events(), u64::from(rate));
            let mut counts = vec![0; keys as usize];
            for number in 0..plan.events() {
                let event = plan.event(number);
                assert_eq!(event.sequence, counts[event.key as usize]);
                assert_eq!(plan.number_of(event.key, event.sequence), number);
                counts[event.key as usize] += 1;
            }
            for (key, count) in (0..).zip(&counts) {
                assert_eq!(plan.count(key), *count);
                let half = plan.events() / 2;
                let among = (0..half).filter(|number| plan.event(*number).key == key).count();
                assert_eq!(plan.count_among(key, half), among as u64);
            }
            let on_lanes = (0..plan.lanes()).map(|lane| plan.on_lane(lane, plan.events()));
            assert_eq!(on_lanes.sum::<u64>(), plan.events());
        }

        #[test]
        fn an_event_is_due_at_its_time_and_not_before(rate in 1_u32..2_000_000, number in 1_u64..1_000_000) {
            let plan = Plan::new(rate, 1, 1, Duration::from_secs(u64::from(u32::MAX)));
            let at = Duration::from_nanos(plan.due_ns(number));
            assert!(plan.due_by(at) > number);
            assert!(plan.due_by(at.saturating_sub(Duration::from_nanos(1))) <= number);
        }
    }
}
