//! What happened in a second or less: sent by workers to the main process, and summed up for the
//! report.

use std::ops::{AddAssign, Sub};

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What happened between two points in time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Start and end, in nanoseconds after the start of the schedule.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    /// The deliveries.
    pub(crate) count: Count,
    pub(crate) latencies: Latencies,
    /// The progress of the reconnect storm at the end of the interval.
    pub(crate) storm: StormCount,
    /// CPU time that the process used, in microseconds.
    pub(crate) cpu_us: u64,
    /// How late the process woke its own tasks.
    pub(crate) lag: Distribution,
}

/// Numbers of deliveries and records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Deliveries of this run.
    pub(crate) deliveries: u64,
    /// Deliveries that were not repetitions.
    pub(crate) distinct: u64,
    /// Records reported as skipped to conflated subscriptions.
    pub(crate) skipped: u64,
    /// WebSocket messages that carried deliveries.
    pub(crate) messages: u64,
    /// Their bytes, without WebSocket framing.
    pub(crate) bytes: u64,
}

/// The progress of a reconnect storm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StormCount {
    /// Connections that have their subscriptions again, and the time of the last one.
    pub(crate) resumed: u64,
    pub(crate) resumed_ns: u64,
    /// Connections that received all records published while they were away, and the time of the
    /// last one.
    pub(crate) caught_up: u64,
    pub(crate) caught_up_ns: u64,
    /// The fewest and most records that a connection had missed when it reconnected.
    pub(crate) behind_min: Option<u64>,
    pub(crate) behind_max: u64,
}

/// Latencies in microseconds, from when an event was due to its delivery.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latencies {
    /// Live deliveries to connections that always read.
    pub(crate) regular: Distribution,
    /// Deliveries to connections that stop reading for a while.
    pub(crate) slow: Distribution,
    /// Events that were due while their connection was away in a reconnect storm, or still catching
    /// up.
    pub(crate) away: Distribution,
}

/// A histogram of microseconds up to an hour, with 3 significant digits; longer times count as an
/// hour.
#[derive(Debug, Clone)]
pub(crate) struct Distribution(pub(crate) Histogram<u64>);

impl Interval {
    /// Returns its length in nanoseconds.
    pub(crate) fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}

impl Count {
    /// Returns the number of records accounted for: delivered, or reported as skipped.
    pub(crate) fn accounted(&self) -> u64 {
        self.distinct + self.skipped
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.distinct += other.distinct;
        self.skipped += other.skipped;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            deliveries: self.deliveries - earlier.deliveries,
            distinct: self.distinct - earlier.distinct,
            skipped: self.skipped - earlier.skipped,
            messages: self.messages - earlier.messages,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

impl StormCount {
    /// Records that a connection has its subscriptions again, and how many records it is behind.
    pub(crate) fn resume(&mut self, now_ns: u64, behind: u64) {
        let one = Self { resumed: 1, resumed_ns: now_ns, behind_min: Some(behind), ..Self::default() };
        *self += Self { behind_max: behind, ..one };
    }

    /// Records that a connection has caught up.
    pub(crate) fn catch_up(&mut self, now_ns: u64) {
        *self += Self { caught_up: 1, caught_up_ns: now_ns, ..Self::default() };
    }
}

impl AddAssign for StormCount {
    /// Adds the progress of another process.
    fn add_assign(&mut self, other: Self) {
        self.resumed += other.resumed;
        self.resumed_ns = self.resumed_ns.max(other.resumed_ns);
        self.caught_up += other.caught_up;
        self.caught_up_ns = self.caught_up_ns.max(other.caught_up_ns);
        self.behind_min = self.behind_min.into_iter().chain(other.behind_min).min();
        self.behind_max = self.behind_max.max(other.behind_max);
    }
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { regular: Distribution::new(), slow: Distribution::new(), away: Distribution::new() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.regular.add(&other.regular);
        self.slow.add(&other.slow);
        self.away.add(&other.away);
    }

    pub(crate) fn reset(&mut self) {
        for part in [&mut self.regular, &mut self.slow, &mut self.away] {
            part.0.reset();
        }
    }
}

impl Distribution {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order"))
    }

    /// Records a time in microseconds.
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Adding visits all buckets, and rare latencies are empty in most intervals.
        if !other.0.is_empty() {
            self.0.add(&other.0).expect("the bounds are the same");
        }
    }
}

impl Serialize for Distribution {
    /// Serializes pairs of value and count, because an interval fills few of the buckets.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::new();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            all.0.saturating_record_n(value, count);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn a_distribution_survives_serialization(values in proptest::collection::vec(0_u64..5_000_000_000, 0..50)) {
            let mut there = Distribution::new();
            values.iter().for_each(|value| there.record(*value));
            let text = serde_json::to_string(&there).expect("it is JSON");
            let here: Distribution = serde_json::from_str(&text).expect("it was written");
            let pairs = |of: &Distribution| serde_json::to_string(of).expect("it is JSON");
            assert_eq!(pairs(&here), text);
            let ends = |of: &Distribution| (of.0.len(), of.0.max(), of.0.value_at_quantile(0.5));
            assert_eq!(ends(&here), ends(&there));
        }
    }

    #[test]
    fn times_have_three_significant_digits_up_to_an_hour() {
        // An auto-resizing histogram does not resize when it saturates: every value above the
        // initial 2,047 µs became 2,047 µs. These bounds are fixed and cover all values.
        let one = |us| {
            let mut distribution = Distribution::new();
            distribution.record(us);
            (distribution.0.value_at_quantile(0.5), distribution.0.max())
        };
        for us in [1, 2_047, 2_048, 20_000, 1_000_000, 60_000_000, 3_600_000_000_u64] {
            let (median, max) = one(us);
            assert!(
                median.abs_diff(us) <= us / 1_000 && max.abs_diff(us) <= us / 1_000,
                "{us}: {median}, {max}"
            );
        }
        assert_eq!(one(u64::MAX), one(3_600_000_000), "longer ones count as an hour");
    }

    #[test]
    fn storms_of_processes_add_up() {
        let (mut all, mut other) = (StormCount::default(), StormCount::default());
        all.resume(5, 100);
        all.resume(7, 90);
        other.resume(6, 300);
        other.catch_up(9);
        all += other;
        let expected = StormCount {
            resumed: 3,
            resumed_ns: 7,
            caught_up: 1,
            caught_up_ns: 9,
            behind_min: Some(90),
            behind_max: 300,
        };
        assert_eq!(all, expected);
    }
}
