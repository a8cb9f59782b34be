//! What the bare consumer received: plain code, time is an argument.

use std::{sync::Arc, time::Duration};

use crate::{interval::Distribution, payload::Format};

/// What the bare consumer received.
#[derive(Debug)]
pub(crate) struct ConsumerStats {
    format: Arc<Format>,
    measured_from_ns: u64,
    /// Number of this run's events, including those of the warm-up.
    pub(crate) records: u64,
    /// Time from when an event was due to its arrival, for events due in the measured period.
    pub(crate) latency: Distribution,
}

impl ConsumerStats {
    /// Creates it empty; events due before `measured_from_ns` after the start are not measured.
    pub(super) fn new(format: Arc<Format>, measured_from_ns: u64) -> Self {
        Self { format, measured_from_ns, records: 0, latency: Distribution::new() }
    }

    /// Records a record that arrived at a time after the start. Ignores records of other runs and
    /// of other producers.
    pub(super) fn take(&mut self, value: &[u8], arrived: Duration) {
        let Ok(event) = self.format.read(value) else { return };
        self.records += 1;
        if event.at_ns >= self.measured_from_ns {
            let late = arrived.saturating_sub(Duration::from_nanos(event.at_ns));
            self.latency.record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Event;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn event(at: Duration) -> Event {
        Event { key: 0, sequence: 0, at_ns: u64::try_from(at.as_nanos()).expect("it is short") }
    }

    #[test]
    fn latency_counts_from_the_scheduled_time_without_the_warm_up() {
        let format = Arc::new(Format::new(7, 64));
        let mut stats = ConsumerStats::new(Arc::clone(&format), 1_000_000_000);
        stats.take(&format.write(&event(MS(999))), MS(1_500));
        stats.take(&format.write(&event(MS(1_000))), MS(1_001));
        stats.take(&format.write(&event(MS(1_001))), MS(1_003));
        let latency = &stats.latency.0;
        assert_eq!((stats.records, latency.len(), latency.min(), latency.max()), (3, 2, 1_000, 2_000));
    }

    #[test]
    fn records_of_other_producers_are_ignored() {
        let mut stats = ConsumerStats::new(Arc::new(Format::new(7, 64)), 0);
        stats.take(&Format::new(8, 64).write(&event(MS(1))), MS(2));
        stats.take(b"a tombstone has no value, and a person writes text", MS(2));
        stats.take(b"", MS(2));
        assert_eq!((stats.records, stats.latency.0.len()), (0, 0));
    }
}
