//! Everything that was found, and what it comes down to.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{bound::Bound, fan_out::FanOut, load::LoadReport, machine::Machine};

/// The exit code of a missed bound, as loadgen's of a missed threshold.
const MISSED: u8 = 99;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    machine: Machine,
    fan_out: Vec<FanOut>,
    /// What it comes down to.
    verdict: Verdict,
}

/// What it comes down to. The worst is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Kept,
    /// A bound was.
    Missed,
    /// Something was lost, repeated, out of order or corrupt, or a run was not completed.
    Violated,
}

impl Results {
    /// Begins with nothing, on this machine.
    pub(crate) fn new() -> Self {
        Self { machine: Machine::this(), fan_out: Vec::new(), verdict: Verdict::Kept }
    }

    /// Takes and shows what was found at a shape.
    ///
    /// # Errors
    ///
    /// When it cannot be shown.
    pub(crate) fn fan_out(&mut self, found: FanOut) -> Result<()> {
        self.show(&found, found.bounds(), &found.runs().collect::<Vec<_>>())?;
        self.fan_out.push(found);
        Ok(())
    }

    /// Says what it comes down to, and writes the results as JSON where that was asked for.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub(crate) fn conclude(&self, json: Option<&Path>) -> Result<ExitCode> {
        writeln!(io::stdout(), "{}", self.machine).context("the results cannot be written")?;
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(self).context("figures are JSON")?;
            fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(match self.verdict {
            Verdict::Kept => ExitCode::SUCCESS,
            Verdict::Missed => ExitCode::from(MISSED),
            Verdict::Violated => ExitCode::FAILURE,
        })
    }

    /// Shows a table, its bounds, and what is to be known of its runs.
    fn show(&mut self, found: &dyn fmt::Display, bounds: &[Bound], runs: &[&LoadReport]) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{found}").context("the results cannot be written")?;
        for bound in bounds {
            writeln!(out, "- {bound}")?;
        }
        for run in runs {
            for reason in &run.loadgen.saturated {
                writeln!(out, "- loadgen was saturated, so latencies are partly its own: {reason}")?;
            }
            for incident in &run.incidents {
                writeln!(out, "- NOT COMPLETED: {incident}")?;
            }
        }
        self.verdict = self.verdict.max(Verdict::of(bounds, runs));
        if self.verdict == Verdict::Violated {
            writeln!(
                out,
                "- NOT CLEAN: something was lost, repeated, out of order or corrupt, or not completed"
            )?;
        }
        writeln!(out).context("the results cannot be written")
    }
}

impl Verdict {
    fn of(bounds: &[Bound], runs: &[&LoadReport]) -> Self {
        if !runs.iter().all(|run| run.is_clean()) {
            Self::Violated
        } else if bounds.iter().all(|bound| bound.kept) {
            Self::Kept
        } else {
            Self::Missed
        }
    }
}
