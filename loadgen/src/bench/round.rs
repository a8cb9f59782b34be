//! The floor and then a node, so that their figures can be divided.

use anyhow::Result;
use serde::Serialize;

use super::{load::Load, testbed::Testbed};
#[cfg(test)]
use crate::report::{BareKafka, Memory, Percentiles, Verdict, sample};
use crate::{
    bench::{
        figures::{figure, quotient, ratio},
        floor,
        shape::Shape,
    },
    report::Report,
};

/// The floor, and then a node.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) floor: floor::Report,
    pub(crate) node: Report,
}

impl Round {
    /// Measures both, and reports progress.
    pub(crate) async fn measure(testbed: &Testbed, at: &str, shape: &Shape, load: &Load) -> Result<Self> {
        testbed.report(&format!("{at}: floor"));
        let floor = testbed.floor(shape).await?;
        testbed.report(&format!("{at}: {} µs per delivery; node", figure(floor.cpu_us_per_delivery, 2)));
        let node = testbed.node(load).await?;
        let round = Self { floor, node };
        let us = figure(round.node.measured.server_cpu_us_per_delivery, 2);
        testbed.report(&format!("{at}: {us} µs per delivery, {} × floor", figure(round.cpu_ratio(), 2)));
        Ok(round)
    }

    /// CPU per delivery: the node's, divided by that of sends and consumer.
    pub(crate) fn cpu_ratio(&self) -> Option<f64> {
        quotient(self.node.measured.server_cpu_us_per_delivery, self.floor.cpu_us_per_delivery)
    }

    /// Deliveries per CPU-second: the node's, divided by those of the sends.
    pub(crate) fn efficiency_ratio(&self) -> Option<f64> {
        quotient(self.node_deliveries_per_cpu_second(), self.floor.sends.deliveries_per_cpu_second)
    }

    /// The node's deliveries per CPU-second.
    pub(crate) fn node_deliveries_per_cpu_second(&self) -> Option<f64> {
        ratio(1e6, self.node.measured.server_cpu_us_per_delivery?)
    }

    /// The median latency, divided by that of a bare consumer.
    pub(crate) fn p50_ratio(&self) -> Option<f64> {
        quotient(self.node.latency_us.p50_ms(), self.node.kafka.as_ref()?.latency_us.p50_ms())
    }

    /// The 99th percentile, divided by that of a bare consumer.
    pub(crate) fn p99_ratio(&self) -> Option<f64> {
        quotient(self.node.latency_us.p99_ms(), self.node.kafka.as_ref()?.latency_us.p99_ms())
    }
}

/// A round with this CPU time per delivery on the floor and on the node, and this p99.
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
    let mut node = sample::bare();
    node.measured.server_cpu_us_per_delivery = Some(node_us);
    node.latency_us = Percentiles { count: 10, p50: 1_000, p99: p99_us, ..node.latency_us };
    let latency_us = Percentiles { count: 10, p50: 1_000, p99: 5_000, ..node.latency_us };
    node.kafka = Some(BareKafka { records: 10, latency_us });
    node.memory = Some(Memory::new(0, 50_000, 70_000, 10));
    Round { floor: serde_json::from_value(floor).expect("it is as floor writes it"), node }
}

/// The report of a run in which something was lost.
#[cfg(test)]
pub(crate) fn violated() -> Report {
    Report { verdict: Verdict::Violated, ..sample::bare() }
}

/// A round in which loadgen ran out of CPU.
#[cfg(test)]
pub(crate) fn saturated(floor_us: f64, node_us: f64, p99_us: u64) -> Round {
    let mut round = sample(floor_us, node_us, p99_us);
    round.node.loadgen.saturated.push("it used 1.95 of its 2 CPUs".to_owned());
    round
}
