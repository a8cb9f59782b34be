//! How a benchmark tells what it found: a table for people, and JSON for programs.

use std::{
    fmt::Display,
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What a process ends with when a bound was missed, as loadgen does.
pub(crate) const MISSED: u8 = 99;

/// What a process ends with when no bound was missed and one could not be judged, as loadgen does when it gives no verdict.
pub(crate) const NOT_JUDGED: u8 = 98;

/// Writes a report where it was asked for: with `-` the JSON goes to standard output, and the table to standard error.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn tell(report: &(impl Serialize + Display), json: Option<&Path>) -> Result<()> {
    if json == Some(Path::new("-")) {
        write!(io::stderr(), "{report}")?;
        return writeln!(io::stdout(), "{}", pretty(report)?).context("the results cannot be written");
    }
    write!(io::stdout(), "{report}").context("the results cannot be written")?;
    json.map_or(Ok(()), |path| save(report, path))
}

/// Writes a report as JSON to a file.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn save(report: &impl Serialize, path: &Path) -> Result<()> {
    let text = pretty(report)?;
    fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
}

fn pretty(report: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(report).context("figures are JSON")
}

/// Returns how a process ends whose bounds were all kept, or not.
pub(crate) fn code(kept: bool) -> ExitCode {
    if kept { ExitCode::SUCCESS } else { MISSED.into() }
}
