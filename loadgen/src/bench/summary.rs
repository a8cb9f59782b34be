//! What a benchmark found: a table, and the figures that it is judged by.

use std::fmt;

use super::headline::Headline;
use crate::report::Report;

/// What a benchmark found. Displayed as a table.
pub(crate) trait Summary: fmt::Display {
    /// Returns what was measured.
    fn title(&self) -> String;

    /// Returns the figures that it comes down to.
    fn headlines(&self) -> &[Headline];

    /// Returns loadgen's reports of all nodes.
    fn runs(&self) -> Vec<&Report>;
}
