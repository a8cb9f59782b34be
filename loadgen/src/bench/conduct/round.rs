//! The floor and then a node, one after the other, so that one can be divided by the other.

use anyhow::Result;
use serde::Serialize;

use super::{load::Load, load_report::LoadReport, stage::Stage};
use crate::bench::{
    figures::{figure, quotient},
    floor,
    shape::Shape,
};

/// The floor, and then a node.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) floor: floor::Report,
    pub(crate) node: LoadReport,
}

impl Round {
    /// Measures the one and then the other, and tells so.
    ///
    /// # Errors
    ///
    /// When one of them has no figures.
    pub(crate) async fn measure(stage: &Stage, at: &str, shape: &Shape, load: &Load) -> Result<Self> {
        stage.tell(&format!("{at}: floor"));
        let floor = stage.floor(shape).await?;
        stage.tell(&format!("{at}: {} µs per delivery; node", figure(floor.cpu_us_per_delivery, 2)));
        let node = stage.node(load).await?;
        let round = Self { floor, node };
        let us = figure(round.node.measured.server_cpu_us_per_delivery, 2);
        stage.tell(&format!("{at}: {us} µs per delivery, {} × floor", figure(round.cpu_ratio(), 2)));
        Ok(round)
    }

    /// CPU per delivery: the node's by that of sends and consumer.
    pub(crate) fn cpu_ratio(&self) -> Option<f64> {
        quotient(self.node.measured.server_cpu_us_per_delivery, self.floor.cpu_us_per_delivery)
    }

    /// Deliveries per CPU-second: the node's by those of the sends.
    pub(crate) fn efficiency_ratio(&self) -> Option<f64> {
        quotient(self.node.deliveries_per_cpu_second(), self.floor.sends.deliveries_per_cpu_second)
    }

    /// The median latency, by that of a bare consumer.
    pub(crate) fn p50_ratio(&self) -> Option<f64> {
        quotient(self.node.latency_us.p50_ms(), self.node.kafka.as_ref()?.latency_us.p50_ms())
    }

    /// The 99th percentile, by that of a bare consumer.
    pub(crate) fn p99_ratio(&self) -> Option<f64> {
        quotient(self.node.latency_us.p99_ms(), self.node.kafka.as_ref()?.latency_us.p99_ms())
    }
}

/// A round in which a delivery took so many microseconds of CPU on the floor and on a node, and so many at p99.
#[cfg(test)]
pub(crate) fn sample(floor_us: f64, node_us: f64, p99_us: u64) -> Round {
    let floor = serde_json::json!({
        "shape": crate::bench::shape::Preset::S1.shape(),
        "measured_seconds": 20.0,
        "sends": {
            "due": 1, "deliveries": 1, "not_taken": 0, "deliveries_per_second": 1.0,
            "cpu_us_per_delivery": floor_us, "deliveries_per_cpu_second": 1e6 / floor_us,
            "cpu_percent": 1.0, "late_p99_us": 1, "late_max_us": 1
        },
        "consumer": null,
        "cpu_us_per_delivery": floor_us
    });
    let latency = |p99: u64| serde_json::json!({ "count": 10, "p50": 1_000, "p99": p99 });
    let node = serde_json::json!({
        "verdict": "clean",
        "violations": { "lost": 0, "repeated": 0, "out_of_order": 0, "corrupt": 0 },
        "measured": {
            "deliveries_per_second": 12_000.0, "deliveries_per_message": 1.0,
            "server_cpu_us_per_delivery": node_us, "server_cpus": 0.2, "own_cpus": 0.2
        },
        "latency_us": latency(p99_us),
        "storm": null,
        "kafka": { "latency_us": latency(5_000) },
        "memory": { "per_idle_connection": 5_000, "per_connection_at_end": 7_000 },
        "loadgen": { "saturated": [] },
        "incidents": []
    });
    let node = serde_json::from_value(node).expect("it is as loadgen writes it");
    Round { floor: serde_json::from_value(floor).expect("it is as floor writes it"), node }
}

/// What loadgen says of a run in which something was lost.
#[cfg(test)]
pub(crate) fn violated() -> LoadReport {
    let mut node = serde_json::to_value(sample(1.0, 1.0, 1).node).expect("a report is JSON");
    node["verdict"] = "violated".into();
    serde_json::from_value(node).expect("it is as loadgen writes it")
}

/// A round in which loadgen had not the CPU that it needed.
#[cfg(test)]
pub(crate) fn saturated(floor_us: f64, node_us: f64, p99_us: u64) -> Round {
    let mut round = sample(floor_us, node_us, p99_us);
    round.node.loadgen.saturated.push("it used 1.95 of its 2 CPUs".to_owned());
    round
}
