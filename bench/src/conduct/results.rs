//! Everything that was found, and what it comes down to.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    bound::Bound, fan_out::FanOut, idle::Idle, load_report::LoadReport, machine::Machine, resume::Resume,
    vary::Vary,
};

/// The exit code of a missed bound, as loadgen's of a missed threshold.
const MISSED: u8 = 99;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    machine: Machine,
    fan_out: Vec<FanOut>,
    vary: Vec<Vary>,
    idle: Option<Idle>,
    resume: Option<Resume>,
    /// What it comes down to.
    verdict: Verdict,
}

/// Something that was found: a table that is shown, and what it has to be judged by.
pub(crate) trait Found: fmt::Display {
    /// Returns what had to be kept.
    fn bounds(&self) -> &[Bound];

    /// Returns what nodes were found to do.
    fn runs(&self) -> Vec<&LoadReport>;
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
        Self {
            machine: Machine::this(),
            fan_out: Vec::new(),
            vary: Vec::new(),
            idle: None,
            resume: None,
            verdict: Verdict::Kept,
        }
    }

    /// Takes and shows what was found at a shape.
    ///
    /// # Errors
    ///
    /// When it cannot be shown, as the others.
    pub(crate) fn fan_out(&mut self, found: FanOut) -> Result<()> {
        self.show(&found)?;
        self.fan_out.push(found);
        Ok(())
    }

    /// Takes and shows what was found as one value grew.
    pub(crate) fn vary(&mut self, found: Vary) -> Result<()> {
        self.show(&found)?;
        self.vary.push(found);
        Ok(())
    }

    /// Takes and shows what connections cost.
    pub(crate) fn idle(&mut self, found: Idle) -> Result<()> {
        self.show(&found)?;
        self.idle = Some(found);
        Ok(())
    }

    /// Takes and shows what coming back costs.
    pub(crate) fn resume(&mut self, found: Resume) -> Result<()> {
        self.show(&found)?;
        self.resume = Some(found);
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
    fn show(&mut self, found: &dyn Found) -> Result<()> {
        let (bounds, runs) = (found.bounds(), found.runs());
        let mut text = format!("{found}\n");
        let mut line = |line: String| text.push_str(&format!("- {line}\n"));
        for bound in bounds {
            line(bound.to_string());
        }
        for run in &runs {
            for reason in &run.loadgen.saturated {
                line(format!("loadgen was saturated, so latencies are partly its own: {reason}"));
            }
            for incident in &run.incidents {
                line(format!("NOT COMPLETED: {incident}"));
            }
        }
        let verdict = Verdict::of(bounds, &runs);
        if verdict == Verdict::Violated {
            line(
                "NOT CLEAN: something was lost, repeated, out of order or corrupt, or not completed"
                    .to_owned(),
            );
        }
        self.verdict = self.verdict.max(verdict);
        writeln!(io::stdout(), "{text}").context("the results cannot be written")
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
