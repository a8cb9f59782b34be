//! The environment of a benchmark: the programs, Kafka, the node's settings, and the timing.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{
    floor,
    load::{Load, Target},
    node::Node,
    programs,
    shape::Shape,
    timing::{Time, Timing},
    watch::Watch,
};
use crate::{kafka::Topic, process, report::Report};

/// How much of a failed program's standard error is shown.
const STDERR_BYTES_MAX: usize = 4_000;

/// Files that a node, loadgen or the floor opens in addition to connections.
const OTHER_FILES: u64 = 200;

/// `push.sessions.count_max` in `src/default.toml`.
const SESSIONS_MAX: u32 = 15_000;

/// The environment of a benchmark.
#[derive(Debug)]
pub(crate) struct Testbed {
    tailcast: PathBuf,
    loadgen: PathBuf,
    kafka: String,
    /// The node's settings, as flags.
    settings: Vec<String>,
    pub(crate) timing: Timing,
}

impl Testbed {
    /// Finds the programs next to this one.
    pub(crate) fn new(kafka: &str, set: &[String], timing: Timing) -> Result<Self> {
        Ok(Self {
            tailcast: programs::find("tailcast")?,
            loadgen: programs::find("loadgen")?,
            kafka: kafka.to_owned(),
            settings: set.iter().map(|set| format!("--set={set}")).collect(),
            timing,
        })
    }

    /// Checks that this machine has enough open files for the loads, and that the node accepts its
    /// settings.
    pub(crate) fn check(&self, loads: &[Load]) -> Result<()> {
        let connections = loads.iter().map(|load| load.connections).max().unwrap_or_default();
        process::check_open_files(u64::from(connections) + OTHER_FILES)?;
        let mut command = std::process::Command::new(&self.tailcast);
        let output = command.args(["config", "check"]).args(&self.settings).output();
        let output = output.with_context(|| format!("{} cannot be started", self.tailcast.display()))?;
        ensure!(output.status.success(), "{}", stderr(&output).trim());
        Ok(())
    }

    /// Measures bare sends and a bare consumer.
    pub(crate) async fn floor(&self, shape: &Shape) -> Result<floor::Report> {
        let Time { warmup, duration } = self.timing.time;
        let mut arguments = vec!["floor".to_owned(), "--json=-".into(), format!("--kafka={}", self.kafka)];
        arguments.extend(shape.flags());
        arguments.push(format!("--warmup={}", humantime::format_duration(warmup)));
        arguments.push(format!("--duration={}", humantime::format_duration(duration)));
        let output = output(&programs::this()?, &arguments).await?;
        ensure!(output.status.success(), "bench floor failed ({}):\n{}", output.status, stderr(&output));
        serde_json::from_slice(&output.stdout).context("the report of bench floor cannot be parsed")
    }

    /// Measures a new node under a load, with a new topic. Fails when the node does not start, or
    /// loadgen writes no report. All other problems are in the report.
    pub(crate) async fn node(&self, load: &Load) -> Result<Report> {
        let (report, _) = self.on_node(load, false).await?;
        Ok(report)
    }

    /// Like [`Self::node`], and samples the node's subscriptions and windows.
    pub(crate) async fn watched_node(&self, load: &Load) -> Result<(Report, Watch)> {
        self.on_node(load, true).await
    }

    async fn on_node(&self, load: &Load, watching: bool) -> Result<(Report, Watch)> {
        let topic = Topic::use_or_create(&self.kafka, None)?;
        let mut settings = self.settings.clone();
        if load.connections > SESSIONS_MAX {
            settings.push(format!("--sessions-max={}", load.connections));
        }
        let node = Node::start(&self.tailcast, "push", &self.kafka, &settings).await?;
        let arguments = load.arguments(&Target {
            url: format!("ws://{}/v1/connect", node.address),
            pid: node.pid()?,
            metrics: node.metrics_url(),
            kafka: &self.kafka,
            topic: &topic.name,
        });
        let mut watch = Watch::default();
        let loadgen = output(&self.loadgen, &arguments);
        let output = if watching { watch.during(&node, loadgen).await? } else { loadgen.await? };
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("loadgen wrote no report ({}):\n{}", output.status, stderr(&output)))?;
        node.stop().await?;
        topic.leave()?;
        Ok((report, watch))
    }

    /// Reports progress on standard error.
    pub(crate) fn report(&self, progress: &str) {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "{progress}");
    }
}

/// Runs a program to its end; kills it when dropped.
async fn output(program: &Path, arguments: &[String]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.with_context(|| format!("{} cannot be started", program.display()))
}

/// Returns the end of what a program wrote to standard error.
fn stderr(output: &Output) -> String {
    let from = output.stderr.len().saturating_sub(STDERR_BYTES_MAX);
    String::from_utf8_lossy(&output.stderr[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_limit_is_that_of_a_node() {
        let defaults = include_str!("../../../src/default.toml");
        assert!(defaults.contains(&format!("\ncount_max = {SESSIONS_MAX}\n")));
    }
}
