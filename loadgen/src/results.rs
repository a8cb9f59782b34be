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

/// Looks whether the files that are asked for can be written, and leaves everything as it is.
///
/// # Errors
///
/// When one cannot: its results would be lost when the run is over.
pub(crate) fn try_out(output: &Output) -> Result<()> {
    for (flag, path) in output.files() {
        try_file(path).with_context(|| format!("{flag}: {} cannot be written", path.display()))?;
    }
    Ok(())
}

fn try_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::OpenOptions::new().append(true).open(path).map(drop),
        // Whoever reads a pipe would take this for its end.
        Ok(_) => Ok(()),
        // What it names may be made when there is something to write.
        Err(_) if path.is_symlink() => Ok(()),
        Err(_) => {
            fs::File::create_new(path)?;
            fs::remove_file(path)
        }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn tried(flag: &str, path: &Path) -> Result<()> {
        let path = path.to_str().expect("it is text");
        let cli = Cli::try_parse_from(["loadgen", "--kafka", "k:1", flag, path]);
        try_out(&cli.expect("the arguments are sound").output)
    }

    // It was found out when the run was over, and its results were lost.
    #[test]
    fn a_file_that_cannot_be_written_is_named_and_one_that_can_is_left_as_it_is() {
        let error = tried("--json", Path::new("/proc/report.json")).expect_err("nobody writes there");
        assert_eq!(error.to_string(), "--json: /proc/report.json cannot be written");
        let path = std::env::temp_dir().join(format!("loadgen-results-{}", std::process::id()));
        tried("--html", &path).expect("it can be made");
        assert!(!path.exists(), "and is not yet");
        fs::write(&path, "earlier").expect("it can be made");
        tried("--hgrm", &path).expect("it can be written");
        let kept = fs::read_to_string(&path).expect("it is there");
        fs::remove_file(&path).expect("it is there");
        assert_eq!(kept, "earlier");
    }
}
