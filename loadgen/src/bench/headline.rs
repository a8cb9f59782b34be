//! A key figure of a benchmark, and its bound, if it has one.

use std::fmt;

use serde::Serialize;

use crate::bench::figures::figure;

/// A figure, with or without a bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Headline {
    /// The name of the figure, with its unit.
    pub(crate) what: String,
    value: Option<f64>,
    #[serde(flatten)]
    limit: Option<Limit>,
    /// `null` without a bound, and when it was not judged.
    kept: Option<bool>,
    /// Why it was not judged; `null` if it was, or has no bound.
    not_judged: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Headline {
    /// A figure without a bound.
    pub(crate) fn unbounded(what: impl Into<String>, value: Option<f64>) -> Self {
        Self { what: what.into(), value, limit: None, kept: None, not_judged: None }
    }

    /// A figure with an upper bound. A missing figure misses its bound.
    pub(crate) fn at_most(what: impl Into<String>, value: Option<f64>, most: f64) -> Self {
        let kept = value.is_some_and(|value| value <= most);
        Self { limit: Some(Limit::AtMost(most)), kept: Some(kept), ..Self::unbounded(what, value) }
    }

    /// A figure with a lower bound. A missing figure misses its bound.
    pub(crate) fn at_least(what: impl Into<String>, value: Option<f64>, least: f64) -> Self {
        let kept = value.is_some_and(|value| value >= least);
        Self { limit: Some(Limit::AtLeast(least)), kept: Some(kept), ..Self::unbounded(what, value) }
    }

    /// Removes the bound, for a measurement that it does not apply to.
    pub(crate) fn without_bound(self) -> Self {
        Self { limit: None, kept: None, not_judged: None, ..self }
    }

    /// Keeps the bound but does not judge the figure, because the measurement is unreliable.
    pub(crate) fn not_judged(self, why: &'static str) -> Self {
        if self.limit.is_none() {
            return self;
        }
        Self { kept: None, not_judged: Some(why), ..self }
    }

    /// Returns whether it has a bound and missed it.
    pub(crate) fn is_missed(&self) -> bool {
        self.kept == Some(false)
    }

    /// Returns whether it has a bound but was not judged.
    pub(crate) fn is_not_judged(&self) -> bool {
        self.not_judged.is_some()
    }

    /// Formats the figure.
    pub(crate) fn value(&self) -> String {
        let digits = if self.value.is_some_and(|value| value >= 1_000.0) { 0 } else { 2 };
        figure(self.value, digits)
    }

    /// Formats the bound, and whether it was kept.
    pub(crate) fn bound(&self) -> String {
        let mark = match self.not_judged {
            Some(why) => format!("not judged ({why})"),
            None if self.is_missed() => "✗".to_owned(),
            None => "✓".to_owned(),
        };
        match self.limit {
            None => String::new(),
            Some(Limit::AtMost(most)) => format!("≤ {most} {mark}"),
            Some(Limit::AtLeast(least)) => format!("≥ {least} {mark}"),
        }
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}: {} {}", self.what, self.value(), self.bound());
        f.write_str(text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_includes_its_value_and_a_missing_figure_misses_it() {
        assert_eq!(Headline::at_most("x", Some(1.35), 1.35).to_string(), "x: 1.35 ≤ 1.35 ✓");
        assert_eq!(Headline::at_most("x", Some(1.36), 1.35).to_string(), "x: 1.36 ≤ 1.35 ✗");
        assert_eq!(Headline::at_least("x", Some(4.0), 4.0).to_string(), "x: 4.00 ≥ 4 ✓");
        assert_eq!(Headline::at_least("x", None, 4.0).to_string(), "x: – ≥ 4 ✗");
    }

    #[test]
    fn a_figure_without_a_bound_misses_none() {
        assert_eq!(Headline::unbounded("x", Some(6_021.4)).to_string(), "x: 6021");
        assert!(!Headline::unbounded("x", None).is_missed());
        assert!(!Headline::at_most("x", Some(9.0), 2.0).without_bound().is_missed());
    }

    #[test]
    fn an_unreliable_figure_is_neither_kept_nor_missed() {
        for value in [Some(1.0), Some(9.0), None] {
            let headline = Headline::at_most("x", value, 2.0).not_judged("it was late");
            assert!(headline.is_not_judged() && !headline.is_missed(), "{headline}");
            assert!(headline.to_string().ends_with(" ≤ 2 not judged (it was late)"), "{headline}");
        }
        let unbounded = Headline::unbounded("x", Some(9.0)).not_judged("it was late");
        assert!(!unbounded.is_not_judged(), "{unbounded}");
    }

    #[test]
    fn its_limit_is_a_field_of_its_json() {
        let json = |headline| serde_json::to_value::<Headline>(headline).expect("it is JSON");
        let bounded = serde_json::json!({ "what": "x", "value": null, "at_most": 2.0, "kept": false, "not_judged": null });
        assert_eq!(json(Headline::at_most("x", None, 2.0)), bounded);
        let unbounded = serde_json::json!({ "what": "x", "value": 1.0, "kept": null, "not_judged": null });
        assert_eq!(json(Headline::unbounded("x", Some(1.0))), unbounded);
    }
}
