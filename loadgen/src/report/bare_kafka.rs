//! The same run, as a consumer saw it that reads straight from Kafka.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Percentiles, float};

/// What a bare consumer saw of the run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BareKafka {
    /// Events of the whole run; at least those that were acknowledged.
    pub(crate) records: u64,
    /// From when an event was due to its arrival, for events that were due in the measured stretch.
    pub(crate) latency_us: Percentiles,
}

/// Deliveries beside it.
pub(super) struct Comparison<'a>(pub(super) &'a BareKafka, pub(super) &'a Percentiles);

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kafka, deliveries) = self;
        writeln!(f, "bare Kafka     {}", kafka.latency_us)?;
        if kafka.latency_us.count == 0 || deliveries.count == 0 {
            return Ok(());
        }
        // A clock of microseconds may show none.
        let times = |of: u64, by: u64| float(of) / float(by.max(1));
        writeln!(
            f,
            "               deliveries take {:.2} × as long at p50, {:.2} × at p99",
            times(deliveries.p50, kafka.latency_us.p50),
            times(deliveries.p99, kafka.latency_us.p99)
        )
    }
}
