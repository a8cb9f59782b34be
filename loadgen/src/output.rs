//! Output of a report: a summary as text, and JSON.

use std::{
    fmt::Display,
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Writes a report: with `-` the JSON goes to standard output, and the summary to standard error.
pub(crate) fn write(report: &(impl Serialize + Display), json: Option<&Path>) -> Result<()> {
    let summary = report.to_string();
    let summary = summary.trim_end();
    if json == Some(Path::new("-")) {
        writeln!(io::stderr(), "{summary}")?;
        return writeln!(io::stdout(), "{}", pretty(report)?).context("the results cannot be written");
    }
    writeln!(io::stdout(), "{summary}").context("the results cannot be written")?;
    json.map_or(Ok(()), |path| save(report, path))
}

/// Writes a report to a file as JSON.
pub(crate) fn save(report: &impl Serialize, path: &Path) -> Result<()> {
    let text = pretty(report)?;
    fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
}

/// Checks that a file can be written, without changing anything. Fails when it cannot: results
/// would be lost at the end of a run.
pub(crate) fn check(path: &Path) -> Result<()> {
    let checked = match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::OpenOptions::new().append(true).open(path).map(drop),
        // Opening a pipe would signal its end to the reader.
        Ok(_) => Ok(()),
        // The target of a dangling link is created with the results.
        Err(_) if path.is_symlink() => Ok(()),
        Err(_) => fs::File::create_new(path).and_then(|_| fs::remove_file(path)),
    };
    checked.with_context(|| format!("{} cannot be written", path.display()))
}

fn pretty(report: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(report).context("figures are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    // This used to be reported at the end of a run, and the results were lost.
    #[test]
    fn an_unwritable_file_is_named_and_a_writable_one_is_left_unchanged() {
        let error = check(Path::new("/proc/report.json")).expect_err("nobody writes there");
        assert_eq!(error.to_string(), "/proc/report.json cannot be written");
        let path = std::env::temp_dir().join(format!("loadgen-output-{}", std::process::id()));
        check(&path).expect("it can be created");
        assert!(!path.exists(), "and is not yet");
        fs::write(&path, "earlier").expect("it can be created");
        check(&path).expect("it can be written");
        let kept = fs::read_to_string(&path).expect("it exists");
        fs::remove_file(&path).expect("it exists");
        assert_eq!(kept, "earlier");
    }
}
