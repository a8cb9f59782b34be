//! The result of a threshold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A threshold, compared with the run's results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ThresholdResult {
    /// The threshold, as given.
    pub(crate) threshold: String,
    /// The figure, in microseconds, bytes or as a number; null: the run did not measure it, and the
    /// threshold failed.
    pub(crate) value: Option<f64>,
    /// The bound, in the same unit; null: it depends on a figure that the earlier run or the bare
    /// consumer did not measure.
    pub(crate) bound: Option<f64>,
    /// Null: not judged, because loadgen was saturated.
    pub(crate) kept: Option<bool>,
    /// Figure and bound as text, with units.
    #[serde(skip)]
    pub(crate) summary: String,
}

impl ThresholdResult {
    /// Withdraws the judgement, and keeps the figures.
    pub(crate) fn not_judged(self) -> Self {
        Self { kept: None, ..self }
    }
}

impl fmt::Display for ThresholdResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, end) = match self.kept {
            Some(true) => ('✓', ""),
            Some(false) => ('✗', ""),
            None => ('–', "; not judged"),
        };
        write!(f, "{mark} {}: {}{end}", self.threshold, self.summary)
    }
}
