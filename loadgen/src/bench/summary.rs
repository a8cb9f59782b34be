//! A benchmark's results: a table, and its key figures.

use std::fmt;

use super::headline::Headline;
use crate::report::Report;

/// A benchmark's results. Displayed as a table.
pub(crate) trait Summary: fmt::Display {
    /// Returns what was measured.
    fn title(&self) -> String;

    /// Returns the key figures.
    fn headlines(&self) -> &[Headline];

    /// Returns loadgen's reports of all nodes.
    fn runs(&self) -> Vec<&Report>;
}
