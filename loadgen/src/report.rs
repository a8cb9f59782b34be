//! What a run found, as programs read it.

mod text;

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::traffic::Count;

/// Above this, in microseconds, what loadgen measures is partly itself: its 99th percentile of being late.
const LATENESS_MAX_US: u64 = 5_000;

/// What a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was asked for.
    pub(crate) asked: Asked,
    /// Whether nothing was wrong.
    pub(crate) clean: bool,
    /// Events of the whole run.
    pub(crate) events: Events,
    /// Deliveries of the whole run.
    pub(crate) deliveries: u64,
    /// What was wrong, over the whole run.
    pub(crate) violations: Violations,
    /// Deliveries of earlier runs on the same topic; no violation.
    pub(crate) other_runs: u64,
    /// The measured stretch.
    pub(crate) measured: Measured,
    /// From when an event was due to its delivery, for events that were due in the measured stretch.
    pub(crate) latency_us: Percentiles,
    /// How late loadgen itself took events that were due.
    pub(crate) lateness_us: Percentiles,
    /// Whether loadgen was too late to be believed.
    pub(crate) saturated: bool,
    /// The memory of the servers; absent without --server-pid.
    pub(crate) memory: Option<Memory>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Asked {
    pub(crate) connections: u32,
    pub(crate) channels_per_connection: u32,
    pub(crate) keys: u32,
    pub(crate) rate: u32,
    pub(crate) payload_bytes: usize,
    pub(crate) way_in: String,
}

/// Events of the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Events {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// How often an event was not acknowledged, by reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// What was wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Violations {
    /// Acknowledged, and not delivered to a connection that subscribed to it.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// With a wrong checksum, or of a channel that was not subscribed to.
    pub(crate) corrupt: u64,
    /// Refused, and delivered all the same.
    pub(crate) refused_but_delivered: u64,
    /// Connections that ended during the run.
    pub(crate) connections_ended: u64,
    /// How, with the number of connections.
    pub(crate) endings: BTreeMap<String, u64>,
}

/// What happened between the end of the warm-up and the last event.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) deliveries_per_message: f64,
    /// Of WebSocket messages with deliveries, without framing.
    pub(crate) bytes: u64,
    /// CPU time of the servers for each delivery; absent without --server-pid.
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
    /// How many CPUs the servers used.
    pub(crate) server_cpus: Option<f64>,
    /// How many CPUs loadgen used.
    pub(crate) own_cpus: f64,
}

/// The memory of the servers, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) before: u64,
    pub(crate) idle: u64,
    pub(crate) end: u64,
    /// What each idle connection added.
    pub(crate) per_idle_connection: u64,
    /// What each connection had added at the end, the windows included.
    pub(crate) per_connection_at_end: u64,
}

/// A distribution, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl Violations {
    /// Returns whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        let all = [self.lost, self.repeated, self.out_of_order, self.corrupt, self.refused_but_delivered];
        all.iter().sum::<u64>() + self.connections_ended == 0
    }
}

impl Measured {
    /// Returns per-delivery and per-second numbers of a stretch.
    pub(crate) fn new(took: Duration, count: Count, servers: Option<Duration>, own: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self {
            seconds,
            deliveries: count.deliveries,
            deliveries_per_second: ratio(count.deliveries, seconds),
            deliveries_per_message: ratio(count.deliveries, float(count.messages)),
            bytes: count.bytes,
            server_cpu_us_per_delivery: servers.map(|cpu| {
                if count.deliveries == 0 { 0.0 } else { cpu.as_secs_f64() * 1e6 / float(count.deliveries) }
            }),
            server_cpus: servers.map(|cpu| cpu.as_secs_f64() / seconds),
            own_cpus: own.as_secs_f64() / seconds,
        }
    }
}

impl Memory {
    /// Returns what each of `connections` added.
    pub(crate) fn new(before: u64, idle: u64, end: u64, connections: u32) -> Self {
        let per = |memory: u64| memory.saturating_sub(before) / u64::from(connections.max(1));
        Self { before, idle, end, per_idle_connection: per(idle), per_connection_at_end: per(end) }
    }
}

impl Percentiles {
    /// Returns whether this, as lateness, spoils what is measured.
    pub(crate) fn is_saturated(&self) -> bool {
        self.p99 > LATENESS_MAX_US
    }
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: histogram.max() }
    }
}

fn ratio(count: u64, per: f64) -> f64 {
    if per > 0.0 { float(count) / per } else { 0.0 }
}

/// Turns a count into a float, for ratios.
#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
