//! What a measurement takes place on: the programs, the Kafka, and how long.

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{
    cli::{Cli, Pace},
    load::Load,
    load_report::LoadReport,
    node::Node,
    watch::Watch,
};
use crate::bench::{floor, shape::Shape, topic::Topic};

/// How much of what a program said is repeated when it failed.
const SAID_BYTES_MAX: usize = 4_000;

/// What a measurement takes place on.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(super) tailcast: PathBuf,
    loadgen: PathBuf,
    floor: PathBuf,
    pub(super) kafka: String,
    /// Keys of the node's configuration.
    pub(super) set: Vec<String>,
    pub(crate) pace: Pace,
}

impl Stage {
    /// Finds the programs beside this one.
    ///
    /// # Errors
    ///
    /// When one is not there.
    pub(crate) fn new(cli: &Cli) -> Result<Self> {
        let here = env::current_exe().context("the program does not know where it is")?;
        let find = |name: &str| {
            let program = here.with_file_name(name);
            ensure!(
                program.is_file(),
                "{} is not there: cargo build --profile dist --locked -p tailcast -p loadgen",
                program.display()
            );
            Ok(program)
        };
        Ok(Self {
            tailcast: find("tailcast")?,
            loadgen: find("loadgen")?,
            floor: find("floor")?,
            kafka: cli.kafka.clone(),
            set: cli.set.clone(),
            pace: cli.pace,
        })
    }

    /// Asks the node whether it knows the keys that are set, and takes their values.
    ///
    /// # Errors
    ///
    /// When it does not, with what it says.
    pub(crate) fn check_settings(&self) -> Result<()> {
        let mut command = std::process::Command::new(&self.tailcast);
        command.args(["config", "check"]);
        for set in &self.set {
            command.args(["--set", set]);
        }
        let output =
            command.output().with_context(|| format!("{} cannot be started", self.tailcast.display()))?;
        ensure!(output.status.success(), "{}", said(&output).trim());
        Ok(())
    }

    /// Measures the bare sends, and the bare consumer.
    ///
    /// # Errors
    ///
    /// When `floor` fails, with what it said.
    pub(crate) async fn floor(&self, shape: &Shape) -> Result<floor::Report> {
        let Pace { warmup, duration, .. } = self.pace;
        let flags = [
            ("--connections", shape.connections.to_string()),
            ("--keys", shape.keys.to_string()),
            ("--rate", shape.rate.to_string()),
            ("--payload", shape.payload.to_string()),
            ("--warmup", humantime::format_duration(warmup).to_string()),
            ("--duration", humantime::format_duration(duration).to_string()),
            ("--kafka", self.kafka.clone()),
            ("--json", "-".to_owned()),
        ];
        let output = output(&self.floor, &flags, &[]).await?;
        ensure!(output.status.success(), "floor failed ({}):\n{}", output.status, said(&output));
        serde_json::from_slice(&output.stdout).context("the report of floor is not understood")
    }

    /// Measures a node of its own under a load, with a topic of its own.
    ///
    /// # Errors
    ///
    /// When the node does not start, or loadgen has no report, with what it said. Anything else is in the report.
    pub(crate) async fn node(&self, load: &Load) -> Result<LoadReport> {
        let (report, _) = self.on_node(load, false).await?;
        Ok(report)
    }

    /// The same, watching what the node has meanwhile.
    ///
    /// # Errors
    ///
    /// As without watching.
    pub(crate) async fn watched_node(&self, load: &Load) -> Result<(LoadReport, Watch)> {
        self.on_node(load, true).await
    }

    async fn on_node(&self, load: &Load, watching: bool) -> Result<(LoadReport, Watch)> {
        let topic = Topic::take_or_create(&self.kafka, None)?;
        let node = Node::start(self, load.connections).await?;
        let flags = load.flags(self, &node, &topic.name)?;
        let mut watch = Watch::default();
        let loadgen = output(&self.loadgen, &flags, load.switches());
        let output = if watching { watch.during(&node, loadgen).await? } else { loadgen.await? };
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("loadgen has no report ({}):\n{}", output.status, said(&output)))?;
        node.stop().await?;
        topic.leave()?;
        Ok((report, watch))
    }

    /// Tells who waits what is going on.
    pub(crate) fn tell(&self, what: &str) {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(io::stderr(), "{what}");
    }
}

/// Runs a program to its end. It ends also when nobody waits for it any more.
async fn output(program: &Path, flags: &[(&str, String)], switches: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    for (flag, value) in flags {
        command.arg(flag).arg(value);
    }
    command.args(switches);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.with_context(|| format!("{} cannot be started", program.display()))
}

/// Returns the end of what a program said to people.
fn said(output: &Output) -> String {
    let from = output.stderr.len().saturating_sub(SAID_BYTES_MAX);
    String::from_utf8_lossy(&output.stderr[from..]).into_owned()
}
