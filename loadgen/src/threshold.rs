//! A bound that a run has to keep: `p99<20ms`, `lost==0`, `bytes_per_slow_client<64KiB`; or one that depends on an earlier
//! run: `p99<=1.25*baseline+5ms`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    figures::{Figure, Unit},
    report::Report,
};

/// A bound on one figure.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    text: String,
    figure: Figure,
    operator: Operator,
    bound: Bound,
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    /// How often the earlier run's figure counts; 0: not at all.
    of_baseline: f64,
    /// What is added, in the figure's unit.
    plus: f64,
}

/// Whether a bound was kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The bound, as it was given.
    pub(crate) threshold: String,
    /// What the figure was, in microseconds, bytes or as it is; null: the run did not measure it, so nothing was kept.
    pub(crate) value: Option<f64>,
    /// What it was compared with, in the same unit; null: it depends on an earlier run that did not measure it.
    pub(crate) bound: Option<f64>,
    pub(crate) kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// The two-letter ones first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// Each unit's suffixes, with what one of them is in the unit.
const TIMES: [(&str, f64); 4] = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const SIZES: [(&str, f64); 4] = [("KiB", 1024.0), ("MiB", 1_048_576.0), ("B", 1.0), ("", 1.0)];

/// Why text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ThresholdError {
    /// There is no operator.
    #[error(
        "a threshold is FIGURE OPERATOR NUMBER[UNIT], with one of <, <=, >, >=, ==: 'p99<20ms', 'lost==0'"
    )]
    Form,
    /// There is no such figure.
    #[error("there is no figure {0:?}; there are: {names}", names = Figure::names())]
    Figure(String),
    /// The bound is not a number with the figure's unit.
    #[error("{0:?} is no bound of {1}, which is {2}, or FACTOR*baseline, or FACTOR*baseline+{2}")]
    Bound(String, &'static str, &'static str),
}

impl Threshold {
    /// Returns whether it needs an earlier run.
    pub(crate) fn is_relative(&self) -> bool {
        self.bound.of_baseline > 0.0
    }

    /// Holds a report against it, and, where it is relative, against that of an earlier run.
    pub(crate) fn judge(&self, report: &Report, baseline: Option<&Report>) -> Kept {
        self.judge_value(self.figure.read(report), baseline.and_then(|baseline| self.figure.read(baseline)))
    }

    fn judge_value(&self, value: Option<f64>, baseline: Option<f64>) -> Kept {
        let baseline = if self.is_relative() { baseline } else { Some(0.0) };
        let bound = baseline.map(|baseline| self.bound.of_baseline * baseline + self.bound.plus);
        let kept = value.zip(bound).is_some_and(|(value, bound)| match self.operator {
            Operator::Less => value < bound,
            Operator::LessOrEqual => value <= bound,
            Operator::Greater => value > bound,
            Operator::GreaterOrEqual => value >= bound,
            Operator::Equal => (value - bound).abs() < f64::EPSILON,
        });
        Kept { threshold: self.text.clone(), value, bound, kept }
    }
}

impl Bound {
    /// Reads `20ms`, `1.25*baseline` or `1.25*baseline+5ms`, with the suffixes of a unit.
    fn parse(text: &str, suffixes: &[(&str, f64)]) -> Option<Self> {
        let Some((factor, plus)) = text.split_once("*baseline") else {
            return Some(Self { of_baseline: 0.0, plus: quantity(text, suffixes)? });
        };
        let of_baseline = quantity(factor, &[("", 1.0)]).filter(|factor| *factor > 0.0)?;
        let plus = match plus.trim() {
            "" => 0.0,
            plus => quantity(plus.strip_prefix('+')?, suffixes)?,
        };
        Some(Self { of_baseline, plus })
    }
}

/// Reads a number with one of the suffixes.
fn quantity(text: &str, suffixes: &[(&str, f64)]) -> Option<f64> {
    suffixes.iter().find_map(|(suffix, factor)| {
        let number: f64 = text.trim().strip_suffix(suffix)?.trim().parse().ok()?;
        Some(number * factor).filter(|number| number.is_finite())
    })
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((text.split_once(sign)?, *operator)));
        let ((name, bound), operator) = found.ok_or(ThresholdError::Form)?;
        let (name, bound) = (name.trim(), bound.trim());
        let figure = Figure::named(name).ok_or_else(|| ThresholdError::Figure(name.to_owned()))?;
        let (suffixes, unit): (&[_], _) = match figure.unit {
            Unit::Number => (&[("", 1.0)], "a number"),
            Unit::Time => (&TIMES, "a time in us, ms or s"),
            Unit::Bytes => (&SIZES, "a size in B, KiB or MiB"),
        };
        let bound = Bound::parse(bound, suffixes);
        let text = text.trim().to_owned();
        match bound {
            Some(bound) => Ok(Self { text, figure, operator, bound }),
            None => Err(ThresholdError::Bound(text, figure.name, unit)),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.kept { '✓' } else { '✗' };
        write!(f, "{mark} {}", self.threshold)?;
        let unit =
            self.threshold.parse::<Threshold>().map_or(Unit::Number, |threshold| threshold.figure.unit);
        match self.value {
            None => f.write_str(": not measured"),
            Some(value) => write!(f, ": {}", shown(value, unit)),
        }?;
        match self.bound.filter(|_| self.threshold.contains("baseline")) {
            Some(bound) => write!(f, ", and may be {}", shown(bound, unit)),
            None => Ok(()),
        }
    }
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => format!("{:.2} ms", value / 1e3),
        Unit::Bytes => format!("{:.1} KiB", value / 1024.0),
        Unit::Number if value.fract() == 0.0 => format!("{value:.0}"),
        Unit::Number => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, value: Option<f64>, expected: &str) {
        let threshold: Threshold = text.parse().expect("a threshold");
        assert_eq!(threshold.judge_value(value, None).to_string(), expected);
    }

    #[track_caller]
    fn check_relative(text: &str, value: f64, baseline: Option<f64>, expected: &str) {
        let threshold: Threshold = text.parse().expect("a threshold");
        assert!(threshold.is_relative());
        assert_eq!(threshold.judge_value(Some(value), baseline).to_string(), expected);
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = text.parse::<Threshold>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: expected {expected:?}, found {error:?}");
    }

    #[test]
    fn a_bound_is_kept_or_not() {
        check("p99<20ms", Some(19_999.0), "✓ p99<20ms: 20.00 ms");
        check("p99<20ms", Some(20_000.0), "✗ p99<20ms: 20.00 ms");
        check("p99 <= 20 ms", Some(20_000.0), "✓ p99 <= 20 ms: 20.00 ms");
        check("max<1s", Some(1_500_000.0), "✗ max<1s: 1500.00 ms");
        check("lost==0", Some(0.0), "✓ lost==0: 0");
        check("lost==0", Some(1.0), "✗ lost==0: 1");
        check("deliveries_per_second>=1000", Some(999.5), "✗ deliveries_per_second>=1000: 999.50");
        check("bytes_per_slow_client<64KiB", Some(1024.0), "✓ bytes_per_slow_client<64KiB: 1.0 KiB");
        check("catch_up_ratio<=3", Some(2.5), "✓ catch_up_ratio<=3: 2.50");
    }

    #[test]
    fn a_bound_may_depend_on_an_earlier_run() {
        let text = "p99<=1.25*baseline+5ms";
        check_relative(
            text,
            15_000.0,
            Some(8_000.0),
            "✓ p99<=1.25*baseline+5ms: 15.00 ms, and may be 15.00 ms",
        );
        check_relative(
            text,
            15_001.0,
            Some(8_000.0),
            "✗ p99<=1.25*baseline+5ms: 15.00 ms, and may be 15.00 ms",
        );
        check_relative("lost<=1*baseline", 3.0, Some(3.0), "✓ lost<=1*baseline: 3, and may be 3");
        check_relative(text, 1.0, None, "✗ p99<=1.25*baseline+5ms: 0.00 ms");
    }

    #[test]
    fn what_was_not_measured_was_not_kept() {
        check("cpu_us_per_delivery<40", None, "✗ cpu_us_per_delivery<40: not measured");
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_what_would_be_one() {
        check_refused("p99", "FIGURE OPERATOR NUMBER");
        check_refused("p98<1ms", "p99.9");
        check_refused("p99<20", "a time in us, ms or s");
        check_refused("lost==none", "a number");
        check_refused("bytes_per_idle_connection<10ms", "a size in");
        check_refused("p99<NaNms", "a time");
        check_refused("p99<baseline", "FACTOR*baseline");
        check_refused("p99<2*baseline+5", "FACTOR*baseline+a time");
        check_refused("p99<-1*baseline", "FACTOR*baseline");
    }
}
