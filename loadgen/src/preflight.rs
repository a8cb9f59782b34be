//! Checks the prerequisites of a run: open files, processes, metrics pages, the baseline, the
//! results file, Kafka.
//!
//! Runs before anything is connected or published. Detected later, a wrong process id or address
//! would cost a figure of an hour's run.

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

/// Files that a process opens in addition to connections.
const FILES: u64 = 100;

/// How long Kafka may take to answer.
const KAFKA_WITHIN: Duration = Duration::from_secs(5);

/// A metric of every push node.
const PROBE_METRIC: &str = "tailcast_push_windows_bytes";

/// Checks all prerequisites. Returns the baseline report, if there is one. Fails when a
/// prerequisite is missing; the error has the flag that requires it.
pub(crate) fn check(cli: &Cli) -> Result<Option<Report>> {
    // The main process has checked them.
    if cli.readers.worker.is_some() {
        return Ok(None);
    }
    let baseline = check_measured(cli)?;
    if let Some(path) = cli.output.json_file() {
        output::check(path).context("--json")?;
    }
    // Last, because it may take seconds to time out.
    let targets = &cli.targets;
    let needed = targets.ingest.is_none() || targets.create_topic.is_some() || targets.compare_kafka;
    if let Some(broker) = targets.kafka.as_deref().filter(|_| needed) {
        let reached = Consumer::new(broker, "loadgen")?.reach(targets.topic.as_str(), KAFKA_WITHIN);
        reached.with_context(|| format!("--kafka {broker}"))?;
    }
    Ok(baseline)
}

/// Checks what is to be measured and compared.
fn check_measured(cli: &Cli) -> Result<Option<Report>> {
    let needed = u64::from(cli.readers.connections.div_ceil(cli.readers.processes.into())) + FILES;
    process::check_open_files(needed).context("too many --connections for one process (see --processes)")?;
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
        let error = format!("{:#}", found(arguments).expect_err("something is missing"));
        assert!(error.contains(expected), "{arguments}: {error}");
    }

    // A metrics page that did not answer used to be only a note in the results.
    #[test]
    fn missing_processes_and_pages_are_rejected_before_the_run() {
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
    fn a_worker_skips_the_checks() {
        check(&Cli::of("--server-pid 4194305 --worker 1 --run 7")).expect("the first one has");
    }
}
