//! The results, as text and as JSON.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::sends::Sends;
use crate::bench::{
    cost::Cost,
    figures::{figure, ratio},
    shape::Shape,
};

/// The results of a run. CPU is in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) shape: Shape,
    pub(crate) measured_seconds: f64,
    pub(crate) sends: SendFigures,
    /// `null` with --sends-only.
    pub(crate) consumer: Option<ConsumerFigures>,
    /// Sends plus consumer; `null` when either was not measured.
    pub(crate) cpu_us_per_delivery: Option<f64>,
}

/// The cost of the sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SendFigures {
    /// Deliveries due in the measured period.
    pub(crate) due: u64,
    pub(crate) deliveries: u64,
    pub(crate) not_taken: u64,
    pub(crate) deliveries_per_second: Option<f64>,
    pub(crate) cpu_us_per_delivery: Option<f64>,
    pub(crate) deliveries_per_cpu_second: Option<f64>,
    /// Relative to one core.
    pub(crate) cpu_percent: Option<f64>,
    late_p99_us: u64,
    pub(crate) late_max_us: u64,
}

/// The cost of the consumer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConsumerFigures {
    pub(crate) records: u64,
    pub(crate) records_per_second: Option<f64>,
    pub(crate) cpu_us_per_record: Option<f64>,
    pub(crate) cpu_us_per_delivery: Option<f64>,
}

impl Report {
    pub(crate) fn new(shape: &Shape, duration: Duration, sends: &Sends, consumed: Option<&Cost>) -> Self {
        let due = u128::from(shape.rate) * duration.as_nanos() / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX) * u64::from(shape.fan_out());
        let sends = SendFigures::new(due, sends);
        let consumer = consumed.map(|consumed| ConsumerFigures::new(shape, consumed));
        let both = consumer
            .as_ref()
            .and_then(|consumer| Some(sends.cpu_us_per_delivery? + consumer.cpu_us_per_delivery?));
        Self {
            shape: *shape,
            measured_seconds: duration.as_secs_f64(),
            sends,
            consumer,
            cpu_us_per_delivery: both,
        }
    }
}

impl SendFigures {
    fn new(due: u64, sends: &Sends) -> Self {
        let cost = &sends.cost;
        Self {
            due,
            deliveries: cost.count,
            not_taken: sends.not_taken,
            deliveries_per_second: cost.per_second(),
            cpu_us_per_delivery: cost.cpu_us_each(),
            deliveries_per_cpu_second: cost.per_cpu_second(),
            cpu_percent: ratio(cost.cpu.as_secs_f64() * 100.0, cost.took.as_secs_f64()),
            late_p99_us: sends.late_us.value_at_quantile(0.99),
            late_max_us: sends.late_us.max(),
        }
    }

    /// Returns whether all due deliveries were sent, within 0.1 %.
    fn kept_up(&self) -> bool {
        self.deliveries >= self.due - self.due / 1_000
    }
}

impl ConsumerFigures {
    fn new(shape: &Shape, consumed: &Cost) -> Self {
        let per_record = consumed.cpu_us_each();
        Self {
            records: consumed.count,
            records_per_second: consumed.per_second(),
            cpu_us_per_record: per_record,
            cpu_us_per_delivery: per_record.map(|us| us / f64::from(shape.fan_out())),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.shape)?;
        let sends = &self.sends;
        writeln!(
            f,
            "sends     {} of {} due, {}/s; CPU {} µs per delivery, {}/CPU-s, {} % of a core",
            sends.deliveries,
            sends.due,
            figure(sends.deliveries_per_second, 0),
            figure(sends.cpu_us_per_delivery, 2),
            figure(sends.deliveries_per_cpu_second, 0),
            figure(sends.cpu_percent, 0),
        )?;
        let late = |us| humantime::format_duration(Duration::from_micros(us));
        writeln!(f, "          late p99 {}, max {}", late(sends.late_p99_us), late(sends.late_max_us))?;
        if sends.not_taken > 0 {
            writeln!(
                f,
                "          {} sends were not taken in full: the receiver was behind",
                sends.not_taken
            )?;
        }
        if !sends.kept_up() {
            writeln!(f, "          the rate was not reached: compare deliveries per CPU-second")?;
        }
        let Some(consumer) = &self.consumer else {
            return writeln!(f, "consumer  not measured (--sends-only)");
        };
        writeln!(
            f,
            "consumer  {} records, {}/s; CPU {} µs per record, {} µs per delivery",
            consumer.records,
            figure(consumer.records_per_second, 0),
            figure(consumer.cpu_us_per_record, 2),
            figure(consumer.cpu_us_per_delivery, 3),
        )?;
        writeln!(f, "floor     CPU {} µs per delivery", figure(self.cpu_us_per_delivery, 2))
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::schema;

    fn cost(count: u64, cpu_ms: u64) -> Cost {
        Cost { count, took: Duration::from_secs(10), cpu: Duration::from_millis(cpu_ms) }
    }

    fn report(deliveries: u64, consumed: Option<&Cost>) -> Report {
        let shape = Shape { connections: 20, keys: 10, rate: 100, payload: 64 };
        let late_us = Histogram::new(3).expect("three digits");
        let sends = Sends { cost: cost(deliveries, 20), not_taken: 0, late_us };
        Report::new(&shape, Duration::from_secs(10), &sends, consumed)
    }

    #[test]
    fn the_cpu_of_a_delivery_is_that_of_its_send_and_its_part_of_a_record() {
        let consumed = cost(1_000, 40);
        let text = report(2_000, Some(&consumed)).to_string();
        assert!(
            text.contains("sends     2000 of 2000 due, 200/s; CPU 10.00 µs per delivery, 100000/CPU-s"),
            "{text}"
        );
        assert!(text.contains("CPU 40.00 µs per record, 20.000 µs per delivery"), "{text}");
        assert!(text.ends_with("floor     CPU 30.00 µs per delivery\n"), "{text}");
        assert!(!text.contains("not reached"), "{text}");
    }

    #[test]
    fn a_rate_that_was_not_reached_is_reported() {
        assert!(report(1_990, None).to_string().contains("the rate was not reached"));
    }

    #[test]
    fn a_report_conforms_to_its_schema() {
        let consumed = cost(1_000, 40);
        for report in [report(2_000, Some(&consumed)), report(0, None)] {
            let json = serde_json::to_value(&report).expect("figures are JSON");
            assert_eq!(schema::violations("floor", &json), Vec::<String>::new());
        }
    }

    #[test]
    fn figures_that_were_not_measured_are_missing() {
        let report = report(0, None);
        let json = serde_json::to_value(&report).expect("figures are JSON");
        assert!(json["sends"]["cpu_us_per_delivery"].is_null(), "{json}");
        assert!(json["consumer"].is_null() && json["cpu_us_per_delivery"].is_null(), "{json}");
        assert!(report.to_string().contains("consumer  not measured"));
    }
}
