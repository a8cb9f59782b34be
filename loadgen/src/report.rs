//! The report of a run, as JSON.
//!
//! The schema is `loadgen/schema.json`; a test checks reports against it. A figure that was not
//! measured is null, never 0.

mod distribution;

mod bare_kafka;

mod threshold_result;

mod faults;

mod verdict;

mod text;

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    bare_kafka::BareKafka,
    distribution::Percentiles,
    faults::{Conflated, SlowReaders, StormReport},
    threshold_result::ThresholdResult,
    verdict::Verdict,
};
use crate::{interval::Count, servers::CpuUsage, tally::Second};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// The parameters of the run.
    #[serde(alias = "asked")]
    pub(crate) parameters: Parameters,
    pub(crate) events: Events,
    /// Deliveries of the whole run.
    pub(crate) deliveries: u64,
    /// Violations over the whole run.
    pub(crate) violations: Violations,
    /// How sessions ended and resumed.
    pub(crate) sessions: Sessions,
    /// The measured period.
    pub(crate) measured: Measured,
    /// From when an event was due to its delivery, for events due in the measured period, on
    /// connections that always read.
    pub(crate) latency_us: Percentiles,
    /// The same, for a bare consumer; null without --compare-kafka.
    pub(crate) kafka: Option<BareKafka>,
    /// Connections that stopped reading; null without --slow-percent.
    pub(crate) slow: Option<SlowReaders>,
    /// The reconnect storm; null without --storm-at.
    pub(crate) storm: Option<StormReport>,
    /// Totals of conflated subscriptions; null without --mode conflated.
    pub(crate) conflated: Option<Conflated>,
    /// The servers' memory; null without --server-pid.
    pub(crate) memory: Option<Memory>,
    /// Loadgen's own performance.
    pub(crate) loadgen: Loadgen,
    /// The thresholds, and whether they were kept.
    pub(crate) thresholds: Vec<ThresholdResult>,
    /// Failures of the run itself, so that it is not clean: what ended, or could not be measured.
    pub(crate) incidents: Vec<String>,
    /// Other facts: servers that ended, as they do in a rolling restart.
    pub(crate) notes: Vec<String>,
    /// The run second by second.
    pub(crate) timeline: Vec<Second>,
}

/// The parameters of the run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) scenario: Option<String>,
    pub(crate) connections: u32,
    pub(crate) processes: u16,
    pub(crate) channels_per_connection: u32,
    pub(crate) channel_form: String,
    pub(crate) mode: String,
    pub(crate) max_rate: Option<f64>,
    pub(crate) keys: u32,
    pub(crate) rate: u32,
    pub(crate) payload_bytes: usize,
    #[serde(alias = "way_in")]
    pub(crate) publish_path: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Events {
    pub(crate) planned: u64,
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// How many events were not acknowledged, by reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// Violations.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Violations {
    /// Acknowledged, but not delivered to a connection that subscribed to it.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// With a wrong checksum, or of a channel without a subscription.
    pub(crate) corrupt: u64,
    /// Refused, but delivered nevertheless.
    pub(crate) refused_but_delivered: u64,
    /// Conflated: records that were neither delivered nor reported as skipped.
    #[serde(alias = "untold")]
    pub(crate) unaccounted: u64,
    /// Conflated: deliveries and reported skips beyond the number of published records.
    #[serde(alias = "invented")]
    pub(crate) overcounted: u64,
    /// Conflated: keys whose latest record did not arrive.
    pub(crate) stale: u64,
    /// Conflated: keys delivered more often than --max-rate.
    pub(crate) over_rate: u64,
    /// Connections that ended for good during the run.
    pub(crate) connections_ended: u64,
    /// The reasons, with the number of connections.
    pub(crate) endings: BTreeMap<String, u64>,
}

/// How sessions ended and resumed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// Sessions closed by nodes, by close code; 1006: without one.
    pub(crate) closes: BTreeMap<u16, u64>,
    /// The same by the nodes' metrics, by code; null without --server-metrics. A client whose
    /// socket is blocked cannot receive the close code: its 1006 is the node's 4508.
    pub(crate) closes_by_nodes: Option<BTreeMap<String, u64>>,
    /// Sessions that were left for another node because of a Goaway.
    pub(crate) moves: u64,
    /// Sessions that were left because nothing arrived for two and a half heartbeats.
    pub(crate) silences: u64,
    /// Sessions that resumed earlier ones, for any reason.
    pub(crate) resumes: u64,
    /// Failed reconnect attempts, by reason.
    pub(crate) failed_attempts: BTreeMap<String, u64>,
    /// Resumed subscriptions for which the node reported lost records.
    #[serde(alias = "told_lost")]
    pub(crate) loss_notices: u64,
    /// `Skipped` frames, by reason.
    pub(crate) skips: BTreeMap<String, u64>,
    /// Deliveries of earlier runs on the same topic; not a violation.
    pub(crate) other_runs: u64,
}

/// What happened between the end of the warm-up and the last event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) deliveries_per_message: f64,
    /// Bytes of WebSocket messages with deliveries, without framing.
    pub(crate) bytes: u64,
    /// The servers' CPU time per delivery; null without --server-pid.
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
    /// The number of CPUs that the servers used.
    pub(crate) server_cpus: Option<f64>,
    /// The number of CPUs that loadgen used, over all its processes.
    pub(crate) own_cpus: f64,
}

/// The servers' memory, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) before: u64,
    pub(crate) idle: u64,
    pub(crate) end: u64,
    /// Memory per idle connection; null when memory shrank, so that it cannot be determined.
    pub(crate) per_idle_connection: Option<u64>,
    /// Memory per connection at the end, windows included.
    pub(crate) per_connection_at_end: Option<u64>,
}

/// Loadgen's own performance.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Loadgen {
    /// How late it published due events.
    pub(crate) lateness_us: Percentiles,
    /// How late it woke its own tasks.
    pub(crate) lag_us: Percentiles,
    /// Why loadgen was saturated; empty if it was not.
    pub(crate) saturated: Vec<String>,
}

impl Violations {
    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts().into_iter().all(|(_, count)| count == 0)
    }

    /// Returns each kind with its count.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 10] {
        [
            ("lost", self.lost),
            ("repeated", self.repeated),
            ("out_of_order", self.out_of_order),
            ("corrupt", self.corrupt),
            ("refused_but_delivered", self.refused_but_delivered),
            ("unaccounted", self.unaccounted),
            ("overcounted", self.overcounted),
            ("stale", self.stale),
            ("over_rate", self.over_rate),
            ("connections_ended", self.connections_ended),
        ]
    }
}

impl Measured {
    /// Returns per-delivery and per-second figures of a period of `seconds`.
    pub(crate) fn new(seconds: f64, count: Count, cpu: &CpuUsage, workers: std::time::Duration) -> Self {
        // Never 0, so that no figure is infinite.
        let took = cpu.took.as_secs_f64().max(1e-3);
        let per_delivery = |cpu: f64| (count.deliveries > 0).then(|| cpu * 1e6 / float(count.deliveries));
        Self {
            seconds,
            deliveries: count.deliveries,
            deliveries_per_second: ratio(count.deliveries, seconds),
            deliveries_per_message: ratio(count.deliveries, float(count.messages)),
            bytes: count.bytes,
            server_cpu_us_per_delivery: cpu.servers.and_then(|cpu| per_delivery(cpu.as_secs_f64())),
            server_cpus: cpu.servers.map(|cpu| cpu.as_secs_f64() / took),
            own_cpus: (cpu.own + workers).as_secs_f64() / took,
        }
    }
}

impl Memory {
    /// Returns the memory added by each of `connections`.
    pub(crate) fn new(before: u64, idle: u64, end: u64, connections: u32) -> Self {
        let per = |memory: u64| Some(memory.checked_sub(before)? / u64::from(connections.max(1)));
        Self { before, idle, end, per_idle_connection: per(idle), per_connection_at_end: per(end) }
    }
}

fn ratio(count: u64, per: f64) -> f64 {
    if per > 0.0 { float(count) / per } else { 0.0 }
}

/// Turns a count into a float, for ratios.
#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
