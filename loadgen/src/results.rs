//! What a run found, and where it is told: the summary, and the files that were asked for.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{cli::Output, hgrm, html, interval::Distribution, report::Report};

/// What a run found.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) report: Report,
    /// The whole distribution of which the report has five numbers.
    pub(crate) latency: Distribution,
    /// The same of what the bare consumer saw.
    pub(crate) kafka: Option<Distribution>,
}

impl Results {
    /// Writes the results where they were asked for.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be written.
    pub(crate) fn tell(&self, output: &Output) -> Result<()> {
        let on_stdout = output.json.as_deref().is_some_and(|path| path == Path::new("-"));
        if on_stdout {
            writeln!(io::stderr(), "{}", self.report)?;
            self.write_json(&mut io::stdout()).context("the results cannot be written")?;
        } else {
            writeln!(io::stdout(), "{}", self.report).context("the results cannot be written")?;
        }
        if let Some(path) = output.json.as_deref().filter(|_| !on_stdout) {
            file(path, |out| self.write_json(out))?;
        }
        if let Some(path) = &output.hgrm {
            file(path, |out| hgrm::write(&self.latency, out))?;
        }
        if let Some(path) = &output.html {
            file(path, |out| html::write(&self.report, &self.latency, self.kafka.as_ref(), out))?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &self.report)?;
        writeln!(out)
    }
}

/// Reads the results of an earlier run.
///
/// # Errors
///
/// When the file is not there, or is not what `--json` writes.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no report of loadgen", path.display()))
}

fn file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let written = fs::File::create(path).map(io::BufWriter::new).and_then(|mut file| {
        write(&mut file)?;
        file.flush()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))
}
