//! A bound that a run has to keep: `p99<20ms`, `lost==0`, `bytes_per_slow_client<64KiB`.

use std::{fmt, str::FromStr};

use serde::Serialize;

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
    /// In the figure's unit.
    bound: f64,
}

/// Whether a bound was kept.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Kept {
    /// The bound, as it was given.
    pub(crate) threshold: String,
    /// What the figure was, in microseconds, bytes or as it is; null: the run did not measure it, so nothing was kept.
    pub(crate) value: Option<f64>,
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
    #[error("{0:?} is no bound of {1}, which is {2}")]
    Bound(String, &'static str, &'static str),
}

impl Threshold {
    /// Holds a report against it.
    pub(crate) fn judge(&self, report: &Report) -> Kept {
        self.judge_value(self.figure.read(report))
    }

    fn judge_value(&self, value: Option<f64>) -> Kept {
        let kept = value.is_some_and(|value| match self.operator {
            Operator::Less => value < self.bound,
            Operator::LessOrEqual => value <= self.bound,
            Operator::Greater => value > self.bound,
            Operator::GreaterOrEqual => value >= self.bound,
            Operator::Equal => (value - self.bound).abs() < f64::EPSILON,
        });
        Kept { threshold: self.text.clone(), value, kept }
    }
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
        let bound = suffixes.iter().find_map(|(suffix, factor)| {
            let number: f64 = bound.strip_suffix(suffix)?.trim().parse().ok()?;
            Some(number * factor).filter(|bound| bound.is_finite())
        });
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
        match (self.value, unit) {
            (None, _) => f.write_str(": not measured"),
            (Some(value), Unit::Time) => write!(f, ": {:.2} ms", value / 1e3),
            (Some(value), Unit::Bytes) => write!(f, ": {:.1} KiB", value / 1024.0),
            (Some(value), Unit::Number) if value.fract() == 0.0 => write!(f, ": {value:.0}"),
            (Some(value), Unit::Number) => write!(f, ": {value:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, value: Option<f64>, expected: &str) {
        let threshold: Threshold = text.parse().expect("a threshold");
        assert_eq!(threshold.judge_value(value).to_string(), expected);
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
    }
}
