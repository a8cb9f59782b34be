//! The sum of all intervals of all processes, and a timeline by second.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::interval::{Count, Distribution, Interval, Latencies, StormCount};

/// The sum of all intervals of all processes.
#[derive(Debug)]
pub(crate) struct Tally {
    processes: u16,
    /// Start and end of the measured period, in nanoseconds after the start.
    measured_ns: (u64, u64),
    pub(crate) count: Count,
    /// Of the measured period.
    pub(crate) measured: Count,
    pub(crate) measured_cpu: Duration,
    pub(crate) latencies: Latencies,
    pub(crate) lag: Distribution,
    pub(crate) storm: StormCount,
    /// Intervals that some processes have not reported yet.
    open: BTreeMap<u64, (u16, Interval)>,
    pub(crate) timeline: Vec<Second>,
    /// How long nothing has arrived, in nanoseconds.
    quiet_ns: u64,
}

/// A second of the run, or less.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Its start, after the start of the schedule.
    pub(crate) at_seconds: f64,
    pub(crate) deliveries_per_second: f64,
    /// Latency of deliveries in this second to connections that always read, in microseconds; null
    /// where nothing was measured.
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
}

impl Tally {
    /// Creates an empty tally for a number of processes, and a measured period after `warmup`.
    pub(crate) fn new(processes: u16, warmup: Duration, duration: Duration) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            processes,
            measured_ns: (ns(warmup), ns(warmup + duration)),
            count: Count::default(),
            measured: Count::default(),
            measured_cpu: Duration::ZERO,
            latencies: Latencies::new(),
            lag: Distribution::new(),
            storm: StormCount::default(),
            open: BTreeMap::new(),
            timeline: Vec::new(),
            quiet_ns: 0,
        }
    }

    /// Adds an interval of a process.
    pub(crate) fn take(&mut self, interval: Interval) {
        self.count += interval.count;
        if interval.from_ns >= self.measured_ns.0 && interval.to_ns <= self.measured_ns.1 {
            self.measured += interval.count;
            self.measured_cpu += Duration::from_micros(interval.cpu_us);
            // Without the lag of opening connections, which is not part of the measurement.
            self.lag.add(&interval.lag);
        }
        self.storm += interval.storm;
        self.latencies.add(&interval.latencies);
        let from = interval.from_ns;
        let all = match self.open.remove(&from) {
            Some((reported, mut all)) => {
                all.count += interval.count;
                all.latencies.add(&interval.latencies);
                (reported + 1, all)
            }
            None => (1, interval),
        };
        if all.0 < self.processes {
            self.open.insert(from, all);
        } else {
            self.close(&all.1);
        }
    }

    /// Returns how long nothing has arrived anywhere.
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_nanos(self.quiet_ns)
    }

    fn close(&mut self, interval: &Interval) {
        if interval.count == Count::default() {
            self.quiet_ns += interval.length_ns();
        } else {
            self.quiet_ns = 0;
        }
        let histogram = &interval.latencies.regular.0;
        let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
        let (at_seconds, seconds) = (seconds(interval.from_ns), seconds(interval.length_ns()));
        #[expect(clippy::cast_precision_loss, reason = "counts of a second are far below 2^53")]
        let deliveries = interval.count.deliveries as f64;
        self.timeline.push(Second {
            at_seconds,
            deliveries_per_second: if seconds > 0.0 { deliveries / seconds } else { 0.0 },
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
        });
    }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn interval(second: u64, deliveries: u64, us: u64) -> Interval {
        let mut latencies = Latencies::new();
        (0..deliveries).for_each(|_| latencies.regular.record(us));
        Interval {
            from_ns: second * SECOND,
            to_ns: (second + 1) * SECOND,
            count: Count { deliveries, distinct: deliveries, ..Count::default() },
            latencies,
            storm: StormCount::default(),
            cpu_us: 10,
            lag: Distribution::new(),
        }
    }

    #[test]
    fn a_second_is_complete_when_all_processes_have_reported_it() {
        let mut tally = Tally::new(2, Duration::from_secs(1), Duration::from_secs(1));
        tally.take(interval(0, 10, 5));
        tally.take(interval(1, 10, 5));
        assert_eq!(tally.timeline, []);
        tally.take(interval(0, 30, 7));
        tally.take(interval(1, 20, 7));
        let rates: Vec<_> = tally.timeline.iter().map(|second| second.deliveries_per_second).collect();
        assert_eq!(rates, [40.0, 30.0]);
        assert_eq!(tally.timeline[0].p50_us, Some(7));
        assert_eq!((tally.count.deliveries, tally.measured.deliveries), (70, 30));
        assert_eq!(tally.measured_cpu, Duration::from_micros(20));
        assert_eq!(tally.quiet(), Duration::ZERO);
        tally.take(interval(2, 0, 0));
        tally.take(interval(2, 0, 0));
        assert_eq!(tally.quiet(), Duration::from_secs(1));
    }
}
