//! A threshold that a run must keep: `p99<20ms`, `lost==0`, `bytes_per_slow_client<64KiB`; or one
//! relative to an earlier run, `p99<=1.25*baseline+5ms`, or to a bare consumer in the same run,
//! `p50<=1.3*kafka`.

mod bound;

use std::{fmt, str::FromStr};

pub(crate) use self::bound::Reference;
use self::bound::{Bound, form};
use crate::{
    figures::{Figure, Need, Unit},
    report::{Report, ThresholdResult},
};

/// A threshold for one figure.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    text: String,
    figure: Figure,
    operator: Operator,
    bound: Bound,
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

/// Why text is not a threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ThresholdError {
    /// There is no operator.
    #[error(
        "a threshold is FIGURE OPERATOR NUMBER[UNIT], with one of <, <=, >, >=, ==: 'p99<20ms', 'lost==0'"
    )]
    Form,
    /// There is no such figure.
    #[error("unknown figure {0:?}; figures: {names}", names = Figure::names())]
    Figure(String),
    /// The bound is not a number with the figure's unit.
    #[error(
        "{0:?} is not a valid bound: {1} takes {2}, FACTOR*baseline or FACTOR*baseline+{2}; likewise with \
         kafka"
    )]
    Bound(String, &'static str, &'static str),
    /// A bare consumer has no such figure.
    #[error("a bare consumer does not measure {0}; it measures {measured}", measured = Figure::names_of_kafka())]
    Kafka(&'static str),
}

impl Threshold {
    /// Returns whether it is relative to this.
    pub(crate) fn depends_on(&self, reference: Reference) -> bool {
        self.reference() == Some(reference)
    }

    /// Returns the prerequisites of its figure.
    pub(crate) fn needs(&self) -> &'static [Need] {
        self.figure.needs()
    }

    fn reference(&self) -> Option<Reference> {
        self.bound.times.map(|(_, of)| of)
    }

    /// Judges a report, and compares it with an earlier run if the bound depends on one.
    pub(crate) fn judge(&self, report: &Report, baseline: Option<&Report>) -> ThresholdResult {
        let elsewhere = self.reference().and_then(|of| match of {
            Reference::Baseline => self.figure.read(baseline?),
            Reference::Kafka => self.figure.of_kafka()?.read(report),
        });
        let judged = self.judge_value(self.figure.read(report), elsewhere);
        if report.loadgen.saturated.is_empty() { judged } else { judged.not_judged() }
    }

    fn judge_value(&self, value: Option<f64>, elsewhere: Option<f64>) -> ThresholdResult {
        let bound = self.bound.value(elsewhere);
        let kept = value.zip(bound).is_some_and(|(value, bound)| match self.operator {
            Operator::Less => value < bound,
            Operator::LessOrEqual => value <= bound,
            Operator::Greater => value > bound,
            Operator::GreaterOrEqual => value >= bound,
            Operator::Equal => (value - bound).abs() < f64::EPSILON,
        });
        let summary = self.summary(value, bound);
        ThresholdResult { threshold: self.text.clone(), value, bound, kept: Some(kept), summary }
    }

    /// Formats the figure, and the bound if it is relative.
    fn summary(&self, value: Option<f64>, bound: Option<f64>) -> String {
        let shown = |value| shown(value, self.figure.unit);
        let value = value.map_or_else(|| "not measured".to_owned(), shown);
        match (bound, self.reference()) {
            (Some(bound), Some(_)) => format!("{value}, limit {}", shown(bound)),
            (Some(_), None) => value,
            (None, _) => format!("{value}, but its reference was not measured"),
        }
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((text.split_once(sign)?, *operator)));
        let ((name, bound), operator) = found.ok_or(ThresholdError::Form)?;
        let (name, bound) = (name.trim(), bound.trim());
        let figure = Figure::named(name).ok_or_else(|| ThresholdError::Figure(name.to_owned()))?;
        let bound = Bound::parse(bound, figure.unit);
        let text = text.trim().to_owned();
        let Some(bound) = bound else {
            return Err(ThresholdError::Bound(text, figure.name, form(figure.unit)));
        };
        let threshold = Self { text, figure, operator, bound };
        if threshold.depends_on(Reference::Kafka) && figure.of_kafka().is_none() {
            return Err(ThresholdError::Kafka(figure.name));
        }
        Ok(threshold)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    use crate::report::sample;

    #[track_caller]
    fn check(text: &str, value: Option<f64>, expected: &str) {
        let threshold: Threshold = text.parse().expect("a threshold");
        assert_eq!(threshold.judge_value(value, None).to_string(), expected);
    }

    #[track_caller]
    fn check_relative(text: &str, value: f64, baseline: Option<f64>, expected: &str) {
        let threshold: Threshold = text.parse().expect("a threshold");
        assert!(threshold.reference().is_some());
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
        check_relative(text, 15_000.0, Some(8_000.0), "✓ p99<=1.25*baseline+5ms: 15.00 ms, limit 15.00 ms");
        check_relative(text, 15_001.0, Some(8_000.0), "✗ p99<=1.25*baseline+5ms: 15.00 ms, limit 15.00 ms");
        check_relative("lost<=1*baseline", 3.0, Some(3.0), "✓ lost<=1*baseline: 3, limit 3");
        check_relative(
            text,
            1.0,
            None,
            "✗ p99<=1.25*baseline+5ms: 0.00 ms, but its reference was not measured",
        );
    }

    #[test]
    fn a_bound_may_depend_on_what_a_bare_consumer_measured() {
        check_relative("p50<=1.3*kafka", 1_300.0, Some(1_000.0), "✓ p50<=1.3*kafka: 1.30 ms, limit 1.30 ms");
        check_relative("p99<2*kafka", 2_000.0, Some(1_000.0), "✗ p99<2*kafka: 2.00 ms, limit 2.00 ms");
        check_relative(
            "p99<2*kafka",
            2_000.0,
            None,
            "✗ p99<2*kafka: 2.00 ms, but its reference was not measured",
        );
        check("kafka_p50<5ms", Some(4_000.0), "✓ kafka_p50<5ms: 4.00 ms");
        let mut report = sample::full();
        report.loadgen.saturated.clear();
        let judge = |report: &Report, text: &str| {
            let threshold: Threshold = text.parse().expect("a threshold");
            threshold.judge(report, None).to_string()
        };
        assert_eq!(judge(&report, "p50<=1.3*kafka"), "✗ p50<=1.3*kafka: 1.50 ms, limit 1.17 ms");
        assert_eq!(judge(&report, "p50<=1.3*kafka+1ms"), "✓ p50<=1.3*kafka+1ms: 1.50 ms, limit 2.17 ms");
        report.kafka = None;
        assert_eq!(
            judge(&report, "p50<=1.3*kafka"),
            "✗ p50<=1.3*kafka: 1.50 ms, but its reference was not measured"
        );
    }

    // Thresholds used to be marked as kept or missed next to 'no verdict'.
    #[test]
    fn no_threshold_is_judged_when_loadgen_was_saturated() {
        let report = sample::full();
        assert!(!report.loadgen.saturated.is_empty());
        let judged = "p99<1us".parse::<Threshold>().expect("a threshold").judge(&report, None);
        assert_eq!((judged.kept, judged.value.is_some()), (None, true));
        let text = judged.to_string();
        assert!(text.starts_with("– p99<1us: ") && text.ends_with(" ms; not judged"), "{text}");
    }

    #[test]
    fn an_unmeasured_threshold_fails() {
        check("cpu_us_per_delivery<40", None, "✗ cpu_us_per_delivery<40: not measured");
    }

    #[test]
    fn an_invalid_threshold_is_rejected_with_the_valid_form() {
        check_refused("p99", "FIGURE OPERATOR NUMBER");
        check_refused("p98<1ms", "p99.9");
        check_refused("p99<20", "a time in us, ms or s");
        check_refused("lost==none", "a number");
        check_refused("bytes_per_idle_connection<10ms", "a size in");
        check_refused("p99<NaNms", "a time");
        check_refused("p99<baseline", "FACTOR*baseline");
        check_refused("p99<2*baseline+5", "FACTOR*baseline+a time");
        check_refused("p99<-1*baseline", "FACTOR*baseline");
        check_refused("p99<2*kafka+5", "a time in us");
        check_refused("lost<2*kafka", "does not measure lost; it measures p50, p90, p99, p99.9, max");
    }
}
