//! What is made of the results.

use std::{
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use clap::Args;

use crate::threshold::{Reference, Threshold};

/// What stands for standard output where a file could.
const STANDARD_OUTPUT: &str = "-";

/// What is made of the results.
#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// A bound that the run has to keep, as a figure, an operator and a number with its unit: 'p99<20ms', 'lost==0',
    /// 'cpu_us_per_delivery<40'. May be given several times; the exit code is 99 when one is not kept.
    #[arg(long = "threshold", value_name = "BOUND")]
    pub(crate) thresholds: Vec<Threshold>,

    /// The results of an earlier run (--json), for thresholds such as 'p99<=1.25*baseline+5ms'.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,

    /// How late loadgen itself may be, at its 99th percentile, before it calls itself saturated and gives no verdict: in
    /// taking events that are due, and in waking its own tasks.
    #[arg(long, default_value = "10ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) late_max: Duration,

    /// Write the results as JSON (loadgen/schema.json) to a file, or to standard output with `-`; the summary then goes to
    /// standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Write the distribution of latency in HdrHistogram's text form, in milliseconds.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,

    /// Write a page with latency by percentile and over time: one file, without scripts.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl Output {
    /// `compares_kafka`: whether a bare consumer measures too.
    pub(super) fn check(&self, compares_kafka: bool) -> Result<(), String> {
        let any = |reference| self.thresholds.iter().any(|threshold| threshold.depends_on(reference));
        if any(Reference::Baseline) && self.baseline.is_none() {
            return Err("a threshold with `baseline` needs --baseline FILE".into());
        }
        if any(Reference::Kafka) && !compares_kafka {
            return Err("a threshold with `kafka` needs --compare-kafka".into());
        }
        self.check_files()
    }

    /// Returns the files that are written, each with its flag.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path)> {
        let json = self.json.as_deref().filter(|path| *path != Path::new(STANDARD_OUTPUT));
        let files = [("--json", json), ("--hgrm", self.hgrm.as_deref()), ("--html", self.html.as_deref())];
        files.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect()
    }

    /// Says which file cannot be written, while there is no run yet that would be lost with it.
    fn check_files(&self) -> Result<(), String> {
        let files = self.files();
        for (place, (flag, path)) in files.iter().enumerate() {
            // Of a name without a folder the parent is empty, and that is here.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if *path == Path::new(STANDARD_OUTPUT) {
                return Err(format!(
                    "{flag} {STANDARD_OUTPUT}: only --json goes to standard output; name a file"
                ));
            }
            if path.is_dir() {
                return Err(format!("{flag} {}: that is a folder", path.display()));
            }
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(format!("{flag} {}: there is no such folder", path.display()));
            }
            // /dev/null and its like take any number of results.
            let keeps = path.is_file() || !path.exists();
            let other = files[..place].iter().find(|(_, other)| keeps && is_same(other, path));
            if let Some((other, _)) = other {
                return Err(format!("{flag} {}: {other} writes the same file", path.display()));
            }
        }
        Ok(())
    }
}

/// Whether two names are of one file, as far as names tell.
fn is_same(one: &Path, other: &Path) -> bool {
    match (absolute(one), absolute(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
