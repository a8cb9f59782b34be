//! The figures of a report by name, for thresholds.

mod need;

pub(crate) use self::need::Need;
use crate::report::{Percentiles, Report, float};

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A count, or a ratio.
    Number,
    /// Microseconds.
    Time,
    Bytes,
}

/// A figure of a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Reads the figure; `None` if this run did not measure it.
    read: fn(&Report) -> Option<f64>,
    /// The prerequisites without which no run measures it.
    needs: &'static [Need],
}

const SECOND_US: f64 = 1e6;

/// The prefix of the bare consumer's figures.
const KAFKA_PREFIX: &str = "kafka_";

/// All figures. Kinds of violations have the same names as in the report.
const FIGURES: [Figure; 37] = [
    time("p50", |report| us(report, report.latency_us.p50)),
    time("p90", |report| us(report, report.latency_us.p90)),
    time("p99", |report| us(report, report.latency_us.p99)),
    time("p99.9", |report| us(report, report.latency_us.p99_9)),
    time("max", |report| us(report, report.latency_us.max)),
    time("kafka_p50", |report| kafka_us(report, |latency| latency.p50)).needing(&[Need::CompareKafka]),
    time("kafka_p90", |report| kafka_us(report, |latency| latency.p90)).needing(&[Need::CompareKafka]),
    time("kafka_p99", |report| kafka_us(report, |latency| latency.p99)).needing(&[Need::CompareKafka]),
    time("kafka_p99.9", |report| kafka_us(report, |latency| latency.p99_9)).needing(&[Need::CompareKafka]),
    time("kafka_max", |report| kafka_us(report, |latency| latency.max)).needing(&[Need::CompareKafka]),
    number("lost", |report| Some(float(report.violations.lost))),
    number("repeated", |report| Some(float(report.violations.repeated))),
    number("out_of_order", |report| Some(float(report.violations.out_of_order))),
    number("corrupt", |report| Some(float(report.violations.corrupt))),
    number("violations", |report| {
        Some(report.violations.counts().iter().map(|(_, count)| float(*count)).sum())
    }),
    number("connections_ended", |report| Some(float(report.violations.connections_ended))),
    number("closes", |report| Some(float(report.sessions.closes.values().sum()))),
    number("closed_1006", |report| Some(closed(report, 1006))),
    number("closed_4508", |report| Some(closed(report, 4508))),
    number("closed_4510", |report| Some(closed(report, 4510))),
    number("node_closed_4508", |report| {
        let closes = report.sessions.closes_by_nodes.as_ref()?;
        Some(float(closes.get("4508").copied().unwrap_or_default()))
    })
    .needing(&[Need::ServerMetrics]),
    number("resumes", |report| Some(float(report.sessions.resumes))),
    number("loss_notices", |report| Some(float(report.sessions.loss_notices))),
    number("not_acknowledged", |report| Some(float(report.events.planned - report.events.acknowledged))),
    number("deliveries", |report| Some(float(report.deliveries))),
    number("deliveries_per_second", |report| Some(report.measured.deliveries_per_second)),
    number("deliveries_per_message", |report| {
        Some(report.measured.deliveries_per_message).filter(|_| report.measured.deliveries > 0)
    }),
    number("cpu_us_per_delivery", |report| report.measured.server_cpu_us_per_delivery)
        .needing(&[Need::ServerPid]),
    number("server_cpus", |report| report.measured.server_cpus).needing(&[Need::ServerPid]),
    bytes("bytes_per_idle_connection", |report| report.memory?.per_idle_connection.map(float))
        .needing(&[Need::ServerPid]),
    bytes("bytes_per_connection_at_end", |report| report.memory?.per_connection_at_end.map(float))
        .needing(&[Need::ServerPid]),
    time("slow_p99", |report| {
        let latency = &report.slow.as_ref()?.latency_us;
        (latency.count > 0).then(|| float(latency.p99))
    })
    .needing(&[Need::SlowPercent]),
    bytes("bytes_per_slow_client", |report| report.slow.as_ref()?.growth_per_client.map(float))
        .needing(&[Need::SlowPercent, Need::ServerPid]),
    time("resumed_within", |report| {
        let storm = report.storm.filter(|storm| storm.resumed == u64::from(report.parameters.connections))?;
        storm.resumed_seconds.map(|seconds| seconds * SECOND_US)
    })
    .needing(&[Need::StormAt]),
    time("caught_up_within", |report| {
        let storm =
            report.storm.filter(|storm| storm.caught_up == u64::from(report.parameters.connections))?;
        storm.caught_up_seconds.map(|seconds| seconds * SECOND_US)
    })
    .needing(&[Need::StormAt]),
    number("catch_up_ratio", |report| report.storm?.catch_up_ratio)
        .needing(&[Need::StormAt, Need::ServerMetrics]),
    number("skipped", |report| report.conflated.map(|conflated| float(conflated.skipped)))
        .needing(&[Need::Conflated]),
];

impl Figure {
    /// Returns the figure with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        FIGURES.into_iter().find(|figure| figure.name == name)
    }

    /// Returns the names of all figures.
    pub(crate) fn names() -> String {
        FIGURES.map(|figure| figure.name).join(", ")
    }

    /// Returns the bare consumer's counterpart of this figure, if there is one.
    pub(crate) fn of_kafka(&self) -> Option<Self> {
        FIGURES.into_iter().find(|figure| figure.name.strip_prefix(KAFKA_PREFIX) == Some(self.name))
    }

    /// Returns the names of all figures that the bare consumer measures as well.
    pub(crate) fn names_of_kafka() -> String {
        let names = FIGURES.iter().filter_map(|figure| figure.name.strip_prefix(KAFKA_PREFIX));
        names.collect::<Vec<_>>().join(", ")
    }

    const fn needing(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// Returns the prerequisites without which no run measures it.
    pub(crate) fn needs(&self) -> &'static [Need] {
        self.needs
    }

    /// Reads it from a report; `None` if the run did not measure it.
    pub(crate) fn read(&self, report: &Report) -> Option<f64> {
        (self.read)(report)
    }
}

const fn number(name: &'static str, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { name, unit: Unit::Number, read, needs: &[] }
}

const fn time(name: &'static str, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { name, unit: Unit::Time, read, needs: &[] }
}

const fn bytes(name: &'static str, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { name, unit: Unit::Bytes, read, needs: &[] }
}

/// A latency, if there were deliveries.
fn us(report: &Report, us: u64) -> Option<f64> {
    (report.latency_us.count > 0).then(|| float(us))
}

/// A latency of the bare consumer, if it received any records.
fn kafka_us(report: &Report, read: fn(&Percentiles) -> u64) -> Option<f64> {
    let latency = &report.kafka?.latency_us;
    (latency.count > 0).then(|| float(read(latency)))
}

fn closed(report: &Report, code: u16) -> f64 {
    float(report.sessions.closes.get(&code).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    // These used to be 0, which kept every upper bound.
    #[test]
    fn a_figure_without_values_is_missing() {
        let mut report = sample::full();
        report.latency_us = sample::bare().latency_us;
        if let Some(slow) = &mut report.slow {
            slow.latency_us = report.latency_us;
        }
        for name in ["p50", "max", "slow_p99", "deliveries_per_message"] {
            let figure = Figure::named(name).expect("there is such a figure");
            assert_eq!(figure.read(&report), None, "{name}");
        }
    }
}
