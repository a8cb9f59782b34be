//! The flags that benchmarks share: how often and how long to measure, and the node's settings.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

/// The settings of a benchmark that starts nodes.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeFlags {
    /// Set a key of the node's configuration, as `tailcast push --set`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) set: Vec<String>,

    #[command(flatten)]
    pub(crate) timing: Timing,
}

/// How often and how long to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Timing {
    /// How often to measure each side. They alternate.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    #[command(flatten)]
    pub(crate) time: Time,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Time {
    /// How long the load runs before measuring begins; ignored by `resume`.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// How long to measure each side; ignored by `resume`, where it follows from the number of
    /// missed records.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
}

impl Time {
    /// Checks that the time is long enough to measure CPU time.
    pub(crate) fn check(&self) -> Result<()> {
        let enough = self.duration >= Duration::from_secs(1);
        ensure!(enough, "--duration must be at least 1s: the kernel reports CPU time in steps of 10 ms");
        Ok(())
    }
}

/// Checks the form only; the node checks the key.
fn key_and_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("expected KEY=VALUE, for example push.fan_out.pause_max=20ms".to_owned()),
    }
}
