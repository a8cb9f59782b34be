//! The latency of a bare Kafka consumer in the same run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Percentiles, float};

/// What a bare consumer received.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BareKafka {
    /// Events of the whole run; at least those that were acknowledged.
    pub(crate) records: u64,
    /// From when an event was due to its arrival, for events due in the measured period.
    pub(crate) latency_us: Percentiles,
}

/// The bare consumer's latency compared with that of deliveries.
pub(super) struct Comparison<'a>(pub(super) &'a BareKafka, pub(super) &'a Percentiles);

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kafka, deliveries) = self;
        writeln!(f, "bare Kafka     {}", kafka.latency_us)?;
        if kafka.latency_us.count == 0 || deliveries.count == 0 {
            return Ok(());
        }
        // A latency may be 0 in microseconds.
        let times = |of: u64, by: u64| float(of) / float(by.max(1));
        writeln!(
            f,
            "               deliveries take {:.2} × as long at p50, {:.2} × at p99",
            times(deliveries.p50, kafka.latency_us.p50),
            times(deliveries.p99, kafka.latency_us.p99)
        )
    }
}
