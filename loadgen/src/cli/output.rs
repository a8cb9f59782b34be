//! What is done with the results.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::threshold::{Reference, Threshold};

#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// A bound that the run must keep: a figure, an operator and a number with its unit, such as
    /// 'p99<20ms', 'lost==0', 'cpu_us_per_delivery<40'. May be given several times; the exit code
    /// is 99 when one is missed.
    #[arg(long = "threshold", value_name = "BOUND")]
    pub(crate) thresholds: Vec<Threshold>,

    /// The results of an earlier run (--json), for thresholds such as 'p99<=1.25*baseline+5ms'.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,

    /// How late loadgen itself may be, at its 99th percentile, before it is considered saturated
    /// and gives no verdict: in publishing due events, and in waking its own tasks.
    #[arg(long, default_value = "10ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) late_max: Duration,

    /// Write the results as JSON (loadgen/schema.json) to a file, or to standard output with `-`;
    /// the summary then goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

impl Output {
    /// `compares_kafka`: whether a bare consumer runs as well.
    pub(super) fn check(&self, compares_kafka: bool) -> Result<(), String> {
        let any = |reference| self.thresholds.iter().any(|threshold| threshold.depends_on(reference));
        if any(Reference::Baseline) && self.baseline.is_none() {
            return Err("a threshold with `baseline` needs --baseline FILE".into());
        }
        if any(Reference::Kafka) && !compares_kafka {
            return Err("a threshold with `kafka` needs --compare-kafka".into());
        }
        Ok(())
    }

    /// Returns the file for the results, unless they go to standard output.
    pub(crate) fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|path| *path != Path::new("-"))
    }
}
