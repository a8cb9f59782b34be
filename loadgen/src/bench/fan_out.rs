//! A node compared with the floor: the same shape, in turn, round by round.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::{headline::Headline, load::Load, round::Round, summary::Summary, table::Table, testbed::Testbed};
use crate::{
    bench::{
        figures::{count, figure, median},
        shape::{Cores, Preset, Shape, ShapeFlags},
    },
    report::Report,
};

/// Why a latency is not judged.
const SATURATED: &str = "loadgen was saturated";

/// The results for a shape.
#[derive(Debug, Serialize)]
pub(crate) struct FanOut {
    /// `null` for a custom shape, which has no bounds.
    name: Option<Preset>,
    shape: Shape,
    rounds: Vec<Round>,
    /// The median of the rounds' ratios; likewise below.
    cpu_ratio: Option<f64>,
    deliveries_per_cpu_second_ratio: Option<f64>,
    headlines: Vec<Headline>,
}

/// Alternates the floor and a node.
pub(crate) async fn measure(testbed: &Testbed, asked: &ShapeFlags) -> Result<FanOut> {
    let shape = asked.shape();
    let name = Some(asked.shape).filter(|preset| preset.shape() == shape);
    let full = asked.shape.cores() == Cores::Full;
    let load = Load { full, compare_kafka: !full, ..Load::of(&shape, testbed.timing) };
    let mut rounds = Vec::new();
    for number in 1..=testbed.timing.rounds {
        let at = format!("fan-out, {shape}, round {number} of {}", testbed.timing.rounds);
        rounds.push(Round::measure(testbed, &at, &shape, &load).await?);
    }
    Ok(FanOut::new(name, shape, rounds))
}

impl FanOut {
    fn new(name: Option<Preset>, shape: Shape, rounds: Vec<Round>) -> Self {
        let cpu_ratio = median(rounds.iter().map(Round::cpu_ratio));
        let deliveries_per_cpu_second_ratio = median(rounds.iter().map(Round::efficiency_ratio));
        let p99_ms = || median(rounds.iter().map(|round| round.node.latency_us.p99_ms()));
        let cpu = Headline::at_most("CPU per delivery, × floor", cpu_ratio, 1.35);
        let efficiency = |least| {
            let what = "deliveries per CPU-second, × the sends'";
            Headline::at_least(what, deliveries_per_cpu_second_ratio, least)
        };
        // The median weighs all rounds alike, so one unreliable round spoils it.
        let saturated = rounds.iter().any(|round| !round.node.loadgen.saturated.is_empty());
        let believed = name.is_some_and(|name| name.cores() == Cores::Full) || !saturated;
        let latency = |headline: Headline| if believed { headline } else { headline.not_judged(SATURATED) };
        let p99 = || latency(Headline::at_most("p99, ms", p99_ms(), 25.0));
        let headlines = match name {
            None => vec![cpu.without_bound(), efficiency(1.0).without_bound(), p99().without_bound()],
            Some(Preset::S1) => {
                let p50_ratio = median(rounds.iter().map(Round::p50_ratio));
                let p99_ratio = median(rounds.iter().map(Round::p99_ratio));
                vec![
                    cpu,
                    latency(Headline::at_most("p50, × bare Kafka", p50_ratio, 1.3)),
                    latency(Headline::at_most("p99, × bare Kafka", p99_ratio, 2.0)),
                ]
            }
            Some(Preset::S1x5) => vec![cpu, p99()],
            Some(Preset::S2) => vec![efficiency(4.0), p99()],
            Some(Preset::S3) => vec![efficiency(6.5), p99().without_bound()],
        };
        Self { name, shape, rounds, cpu_ratio, deliveries_per_cpu_second_ratio, headlines }
    }
}

impl Summary for FanOut {
    fn title(&self) -> String {
        let name = self.name.map(|name| format!("{name:?}: ")).unwrap_or_default();
        format!("{name}{}", self.shape)
    }

    fn headlines(&self) -> &[Headline] {
        &self.headlines
    }

    fn runs(&self) -> Vec<&Report> {
        self.rounds.iter().map(|round| &round.node).collect()
    }
}

impl fmt::Display for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "round",
            "floor µs",
            "node µs",
            "× floor",
            "sends/CPU-s",
            "node/CPU-s",
            "× sends",
            "deliveries/s",
            "per message",
            "p50 ms",
            "p99 ms",
            "Kafka p50",
            "Kafka p99",
            "KB idle",
            "KB loaded",
            "lost",
            "repeated",
        ]);
        for (number, round) in (1..).zip(&self.rounds) {
            table.row(row(number, round));
        }
        let mut median = vec![String::new(); 7];
        median[0] = "median".to_owned();
        median[3] = figure(self.cpu_ratio, 2);
        median[6] = figure(self.deliveries_per_cpu_second_ratio, 2);
        table.row(median);
        write!(f, "{table}")
    }
}

/// Returns the table row of a round.
fn row(number: usize, round: &Round) -> Vec<String> {
    let (floor, node) = (&round.floor, &round.node);
    let kafka = node.kafka.as_ref().map(|kafka| &kafka.latency_us);
    let bytes = |bytes: Option<u64>| figure(bytes.map(|bytes| count(bytes) / 1e3), 1);
    let memory = node.memory.as_ref();
    vec![
        number.to_string(),
        figure(floor.cpu_us_per_delivery, 2),
        figure(node.measured.server_cpu_us_per_delivery, 2),
        figure(round.cpu_ratio(), 2),
        figure(floor.sends.deliveries_per_cpu_second, 0),
        figure(round.node_deliveries_per_cpu_second(), 0),
        figure(round.efficiency_ratio(), 2),
        figure(Some(node.measured.deliveries_per_second), 0),
        figure(Some(node.measured.deliveries_per_message), 2),
        figure(node.latency_us.p50_ms(), 1),
        figure(node.latency_us.p99_ms(), 1),
        figure(kafka.and_then(|kafka| kafka.p50_ms()), 1),
        figure(kafka.and_then(|kafka| kafka.p99_ms()), 1),
        bytes(memory.and_then(|memory| memory.per_idle_connection)),
        bytes(memory.and_then(|memory| memory.per_connection_at_end)),
        node.violations.lost.to_string(),
        node.violations.repeated.to_string(),
    ]
}

/// A plausible result at S1 with one round.
#[cfg(test)]
pub(crate) fn sample(round: Round) -> FanOut {
    FanOut::new(Some(Preset::S1), Preset::S1.shape(), vec![round])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::round;

    #[track_caller]
    fn check(preset: Preset, expected: &[&str]) {
        let rounds = vec![
            round::sample(10.0, 12.0, 9_000),
            round::sample(10.0, 14.0, 8_000),
            round::sample(20.0, 22.0, 30_000),
        ];
        let found = FanOut::new(Some(preset), preset.shape(), rounds);
        let headlines: Vec<_> = found.headlines().iter().map(ToString::to_string).collect();
        assert_eq!(headlines, expected);
    }

    #[test]
    fn the_median_of_the_rounds_is_compared_with_the_bounds_of_the_shape() {
        let cpu = "CPU per delivery, × floor: 1.20 ≤ 1.35 ✓";
        check(Preset::S1, &[cpu, "p50, × bare Kafka: 1.00 ≤ 1.3 ✓", "p99, × bare Kafka: 1.80 ≤ 2 ✓"]);
        check(Preset::S1x5, &[cpu, "p99, ms: 9.00 ≤ 25 ✓"]);
        let efficiency = "deliveries per CPU-second, × the sends'";
        check(Preset::S2, &[&format!("{efficiency}: 0.83 ≥ 4 ✗"), "p99, ms: 9.00 ≤ 25 ✓"]);
        check(Preset::S3, &[&format!("{efficiency}: 0.83 ≥ 6.5 ✗"), "p99, ms: 9.00"]);
    }

    #[test]
    fn a_latency_with_a_saturated_loadgen_is_judged_only_where_both_cores_are_full_by_design() {
        // Latencies used to be marked as kept or missed even when loadgen was saturated.
        let headlines = |name| {
            let rounds = vec![round::sample(10.0, 12.0, 9_000), round::saturated(10.0, 12.0, 60_000)];
            let found = FanOut::new(name, Preset::S1.shape(), rounds);
            found.headlines().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let cpu = "CPU per delivery, × floor: 1.20 ≤ 1.35 ✓";
        let why = "not judged (loadgen was saturated)";
        let p99 = format!("p99, ms: 34.50 ≤ 25 {why}");
        assert_eq!(headlines(Some(Preset::S1x5)), [cpu, &p99]);
        let (p50, p99) =
            (format!("p50, × bare Kafka: 1.00 ≤ 1.3 {why}"), format!("p99, × bare Kafka: 6.90 ≤ 2 {why}"));
        assert_eq!(headlines(Some(Preset::S1)), [cpu, &p50, &p99]);
        assert_eq!(headlines(Some(Preset::S2))[1], "p99, ms: 34.50 ≤ 25 ✗");
        assert_eq!(headlines(Some(Preset::S3))[1], "p99, ms: 34.50");
        assert_eq!(headlines(None)[2], "p99, ms: 34.50");
    }

    #[test]
    fn a_ratio_is_of_two_figures_of_the_same_round() {
        // The medians of the two sides, 14 and 10, would give 1.4.
        let rounds =
            vec![round::sample(10.0, 14.0, 1), round::sample(40.0, 44.0, 1), round::sample(10.0, 9.0, 1)];
        let found = FanOut::new(None, Preset::S1.shape(), rounds);
        assert!(found.cpu_ratio.is_some_and(|ratio| (ratio - 1.1).abs() < 1e-9), "{:?}", found.cpu_ratio);
    }

    #[test]
    fn a_custom_shape_has_figures_and_no_bounds() {
        let found = FanOut::new(None, Preset::S1.shape(), vec![round::sample(10.0, 30.0, 1)]);
        assert!(!found.headlines().iter().any(Headline::is_missed));
        assert!(found.to_string().contains("| median |          |         |    3.00 |"), "{found}");
    }
}
