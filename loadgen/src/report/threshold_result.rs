//! Whether a threshold was kept.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A threshold, held against what a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ThresholdResult {
    /// The threshold, as it was given.
    pub(crate) threshold: String,
    /// The figure, in microseconds, bytes or as it is; null: the run did not measure it, so nothing was kept.
    pub(crate) value: Option<f64>,
    /// The bound, in the same unit; null: it depends on what an earlier run or the bare consumer did not measure.
    pub(crate) bound: Option<f64>,
    /// Null: loadgen was saturated, so that its measurements are partly of itself.
    pub(crate) kept: Option<bool>,
    /// Figure and bound in their units, for people.
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
