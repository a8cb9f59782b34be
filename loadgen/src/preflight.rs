//! What a run needs to be there: open files, processes, metrics pages, an earlier report, files for its results, Kafka.
//!
//! Looked at before anything is connected or published. Found out later, a wrong process id or address would leave a figure out of
//! the results of an hour.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::runtime;

use crate::{
    cli::Cli,
    kafka::Consumer,
    node_metrics::{self, MetricsUrl},
    output, process,
    report::Report,
};

/// How many files a process needs beside its connections.
const FILES: u64 = 100;

/// How long Kafka may take to answer.
const KAFKA_WITHIN: Duration = Duration::from_secs(5);

/// A metric of every push node.
const PROBE_METRIC: &str = "tailcast_push_windows_bytes";

/// Looks whether everything is there. Returns the results of the earlier run, if there is one to compare with.
///
/// # Errors
///
/// When something is not, with the flag that asked for it.
pub(crate) fn check(cli: &Cli) -> Result<Option<Report>> {
    // The first of the processes has looked for all.
    if cli.readers.worker.is_some() {
        return Ok(None);
    }
    let baseline = check_measured(cli)?;
    if let Some(path) = cli.output.json_file() {
        output::check(path).context("--json")?;
    }
    // Last: it may take seconds to not answer.
    let targets = &cli.targets;
    let needed = targets.ingest.is_none() || targets.create_topic.is_some() || targets.compare_kafka;
    if let Some(broker) = targets.kafka.as_deref().filter(|_| needed) {
        let reached = Consumer::new(broker, "loadgen")?.reach(targets.topic.as_str(), KAFKA_WITHIN);
        reached.with_context(|| format!("--kafka {broker}"))?;
    }
    Ok(baseline)
}

/// Looks at what is measured and compared with.
fn check_measured(cli: &Cli) -> Result<Option<Report>> {
    let needed = u64::from(cli.readers.connections.div_ceil(cli.readers.processes.into())) + FILES;
    process::check_open_files(needed).context("--connections, without more --processes")?;
    for pid in &cli.targets.server_pids {
        process::open(*pid).with_context(|| format!("--server-pid {pid}"))?;
    }
    if !cli.targets.server_metrics.is_empty() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(pages(&cli.targets.server_metrics)).context("--server-metrics")?;
    }
    cli.output.baseline.as_deref().map(|path| earlier(path).context("--baseline")).transpose()
}

/// Reads the report of an earlier run.
fn earlier(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a report of loadgen", path.display()))
}

async fn pages(nodes: &[MetricsUrl]) -> Result<()> {
    node_metrics::sum(nodes, PROBE_METRIC).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn found(arguments: &str) -> Result<Option<Report>> {
        check_measured(&Cli::of(arguments))
    }

    #[track_caller]
    fn refuse(arguments: &str, expected: &str) {
        let error = format!("{:#}", found(arguments).expect_err("something is not there"));
        assert!(error.contains(expected), "{arguments}: {error}");
    }

    // A page that did not answer was a note in the results.
    #[test]
    fn what_is_to_be_measured_has_to_be_there_before_the_run() {
        let this = std::process::id();
        found(&format!("--keys 1 --connections 1 --server-pid {this}")).expect("it runs");
        // Above the largest process id.
        refuse(
            &format!("--keys 1 --connections 1 --server-pid {this} --server-pid 4194305"),
            "--server-pid 4194305: process 4194305",
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        refuse(
            &format!("--keys 1 --connections 1 --server-metrics http://{address}/metrics"),
            &format!("--server-metrics: the metrics at http://{address}"),
        );
        refuse("--keys 1 --connections 1 --baseline no/such.json", "--baseline: no/such.json cannot be read");
    }

    #[test]
    fn another_process_of_the_run_does_not_look_again() {
        check(&Cli::of("--server-pid 4194305 --worker 1 --run 7")).expect("the first one has");
    }
}
