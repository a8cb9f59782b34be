//! A figure and the bound that it has to keep.

use std::fmt;

use serde::Serialize;

use crate::figures::figure;

/// A figure and its bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bound {
    /// What the figure is, with its unit.
    what: String,
    value: Option<f64>,
    #[serde(flatten)]
    limit: Limit,
    pub(crate) kept: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    /// A figure that may not be above. One that was not measured does not keep its bound.
    pub(crate) fn at_most(what: &str, value: Option<f64>, most: f64) -> Self {
        let kept = value.is_some_and(|value| value <= most);
        Self { what: what.to_owned(), value, limit: Limit::AtMost(most), kept }
    }

    /// A figure that may not be below. One that was not measured does not keep its bound.
    pub(crate) fn at_least(what: &str, value: Option<f64>, least: f64) -> Self {
        let kept = value.is_some_and(|value| value >= least);
        Self { what: what.to_owned(), value, limit: Limit::AtLeast(least), kept }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.kept { '✓' } else { '✗' };
        let value = figure(self.value, 2);
        match self.limit {
            Limit::AtMost(most) => write!(f, "{mark} {}: {value} ≤ {most}", self.what),
            Limit::AtLeast(least) => write!(f, "{mark} {}: {value} ≥ {least}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_kept_up_to_itself_and_never_by_nothing() {
        assert_eq!(Bound::at_most("x", Some(1.35), 1.35).to_string(), "✓ x: 1.35 ≤ 1.35");
        assert_eq!(Bound::at_most("x", Some(1.36), 1.35).to_string(), "✗ x: 1.36 ≤ 1.35");
        assert_eq!(Bound::at_least("x", Some(4.0), 4.0).to_string(), "✓ x: 4.00 ≥ 4");
        assert_eq!(Bound::at_least("x", None, 4.0).to_string(), "✗ x: – ≥ 4");
    }

    #[test]
    fn its_limit_is_a_field_of_its_json() {
        let json = serde_json::to_value(Bound::at_most("x", None, 2.0)).expect("it is JSON");
        assert_eq!(json, serde_json::json!({ "what": "x", "value": null, "at_most": 2.0, "kept": false }));
    }
}
