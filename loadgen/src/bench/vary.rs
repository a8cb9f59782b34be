//! How the cost of a delivery grows with one value, compared with the floor's.

mod cases;

mod value;

use std::fmt;

use anyhow::Result;
use serde::Serialize;

pub(crate) use self::{
    cases::{Axis, Case, VaryFlags, cases},
    value::Value,
};
use super::{headline::Headline, load::Load, round::Round, summary::Summary, table::Table, testbed::Testbed};
use crate::{
    bench::figures::{count, figure, median, quotient},
    report::Report,
};

/// The bound of the growth from the smallest value.
const GROWTH_MAX: f64 = 1.5;

/// The results for one varied value.
#[derive(Debug, Serialize)]
pub(crate) struct Vary {
    by: Axis,
    /// Smallest value first.
    values: Vec<AtValue>,
    headlines: Vec<Headline>,
}

/// The results at one value.
#[derive(Debug, Serialize)]
struct AtValue {
    value: String,
    load: Load,
    rounds: Vec<Round>,
    /// The node's CPU per delivery, divided by that at the smallest value: the median of the
    /// rounds' ratios.
    growth: Option<f64>,
    /// Likewise for the floor.
    floor_growth: Option<f64>,
}

/// Measures all values, round by round.
pub(crate) async fn measure(testbed: &Testbed, flags: &VaryFlags) -> Result<Vary> {
    let cases = cases(flags, testbed.timing).map_err(anyhow::Error::msg)?;
    let mut found: Vec<_> = cases.iter().map(|_| Vec::new()).collect();
    for number in 1..=testbed.timing.rounds {
        for (case, rounds) in cases.iter().zip(&mut found) {
            let (by, value) = (flags.by, &case.value);
            let at = format!("{by} {value}, round {number} of {}", testbed.timing.rounds);
            rounds.push(Round::measure(testbed, &at, &case.floor, &case.load).await?);
        }
    }
    Ok(Vary::new(flags, cases, found))
}

impl Vary {
    fn new(flags: &VaryFlags, cases: Vec<Case>, found: Vec<Vec<Round>>) -> Self {
        let by = flags.by;
        let growth = |rounds: &[Round], cpu: fn(&Round) -> Option<f64>| {
            let of_smallest = found.first().into_iter().flatten();
            median(
                rounds.iter().zip(of_smallest).map(|(round, smallest)| quotient(cpu(round), cpu(smallest))),
            )
        };
        let growths: Vec<_> =
            found.iter().map(|rounds| (growth(rounds, node_us), growth(rounds, floor_us))).collect();
        let values = cases.into_iter().zip(found).zip(growths);
        let values = values.map(|((case, rounds), (growth, floor_growth))| {
            let Case { value, load, .. } = case;
            AtValue { value, load, rounds, growth, floor_growth }
        });
        let values: Vec<_> = values.collect();
        let is_bounded = by.is_bounded() && *flags == by.into();
        let headline = |at: &AtValue| {
            let headline = Headline::at_most(by.growth_of(&at.value), at.judged_growth(by), GROWTH_MAX);
            if is_bounded { headline } else { headline.without_bound() }
        };
        let headlines = values.iter().skip(1).map(headline).collect();
        Self { by, values, headlines }
    }
}

fn node_us(round: &Round) -> Option<f64> {
    round.node.measured.server_cpu_us_per_delivery
}

fn floor_us(round: &Round) -> Option<f64> {
    round.floor.cpu_us_per_delivery
}

impl Summary for Vary {
    fn title(&self) -> String {
        format!("by {}", self.by)
    }

    fn headlines(&self) -> &[Headline] {
        &self.headlines
    }

    fn runs(&self) -> Vec<&Report> {
        self.values.iter().flat_map(|at| &at.rounds).map(|round| &round.node).collect()
    }
}

impl AtValue {
    /// Returns the growth that is judged: relative to the floor's growth, where the floor grows as
    /// well.
    fn judged_growth(&self, by: Axis) -> Option<f64> {
        let floor = if by.floor_has_to_grow() { self.floor_growth?.max(1.0) } else { 1.0 };
        Some(self.growth? / floor)
    }

    /// Returns the median of a figure.
    fn median(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().map(of))
    }

    fn row(&self) -> Vec<String> {
        let idle = |round: &Round| Some(count(round.node.memory.as_ref()?.per_idle_connection?) / 1e3);
        vec![
            self.value.clone(),
            figure(self.median(floor_us), 2),
            figure(self.median(node_us), 2),
            figure(self.median(Round::cpu_ratio), 2),
            figure(self.growth, 2),
            figure(self.floor_growth, 2),
            figure(self.median(|round| Some(round.node.measured.deliveries_per_second)), 0),
            figure(self.median(|round| Some(round.node.measured.deliveries_per_message)), 2),
            figure(self.median(|round| round.node.latency_us.p50_ms()), 1),
            figure(self.median(|round| round.node.latency_us.p99_ms()), 1),
            figure(self.median(idle), 1),
        ]
    }
}

impl fmt::Display for Vary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.to_string();
        let mut table = Table::new(&[
            &by,
            "floor µs",
            "node µs",
            "× floor",
            "× smallest",
            "floor × smallest",
            "deliveries/s",
            "per message",
            "p50 ms",
            "p99 ms",
            "KB idle",
        ]);
        for at in &self.values {
            table.row(at.row());
        }
        write!(f, "{table}")
    }
}

/// The results for rounds at each value.
#[cfg(test)]
fn measured(flags: &str, found: Vec<Vec<Round>>) -> Vary {
    use super::flags::parse;
    let flags = parse::<VaryFlags>(flags).expect("these are flags");
    let cases = cases(&flags, parse("").expect("all have defaults")).expect("they can be measured");
    Vary::new(&flags, cases, found)
}

/// A plausible result as connections grow.
#[cfg(test)]
pub(crate) fn sample() -> Vary {
    let rounds = |us| vec![super::round::sample(10.0, us, 9_000)];
    measured("--by connections", vec![rounds(20.0), rounds(22.0), rounds(24.0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::round;

    #[test]
    fn growth_is_relative_to_the_smallest_value_in_the_same_round() {
        let found = vec![
            vec![round::sample(10.0, 10.0, 1), round::sample(10.0, 40.0, 1), round::sample(10.0, 10.0, 1)],
            vec![round::sample(10.0, 14.0, 1), round::sample(10.0, 44.0, 1), round::sample(10.0, 15.0, 1)],
            vec![round::sample(20.0, 16.0, 1), round::sample(20.0, 44.0, 1), round::sample(20.0, 17.0, 1)],
        ];
        let vary = measured("--by connections", found);
        let headlines: Vec<_> = vary.headlines().iter().map(ToString::to_string).collect();
        let expected = [
            "CPU per delivery at 4000, × the smallest: 1.40 ≤ 1.5 ✓",
            "CPU per delivery at 16000, × the smallest: 1.60 ≤ 1.5 ✗",
        ];
        assert_eq!(headlines, expected);
        assert_eq!(vary.values[2].floor_growth, Some(2.0));
    }

    #[test]
    fn growth_by_keys_is_judged_relative_to_the_floors() {
        let found = vec![
            vec![round::sample(10.0, 20.0, 1)],
            vec![round::sample(5.0, 29.0, 1)],
            vec![round::sample(20.0, 56.0, 1)],
        ];
        let vary = measured("--by keys", found);
        let headlines: Vec<_> = vary.headlines().iter().map(ToString::to_string).collect();
        let expected = [
            "CPU per delivery at 1000, × the smallest, on top of the floor's: 1.45 ≤ 1.5 ✓",
            "CPU per delivery at 100000, × the smallest, on top of the floor's: 1.40 ≤ 1.5 ✓",
        ];
        assert_eq!(headlines, expected);
    }

    #[test]
    fn figures_without_bounds_are_not_judged() {
        let found = || vec![vec![round::sample(10.0, 10.0, 1)], vec![round::sample(10.0, 90.0, 1)]];
        for flags in ["--by format", "--by connections --values 5,6"] {
            let vary = measured(flags, found());
            assert!(!vary.headlines().iter().any(Headline::is_missed), "{flags}");
        }
    }
}
