//! A Tailcast node as a child process, on ports chosen by the kernel.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{http, node_metrics::MetricsUrl};

/// How long a node may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Time between two readiness checks.
const RETRY: Duration = Duration::from_millis(50);

/// A running node. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    /// The address for clients.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// Reads the log, so that the node never blocks on a full pipe.
    _log: JoinSet<()>,
}

/// The node's first log line has the addresses of its listeners.
#[derive(Debug, Deserialize)]
struct Started {
    #[serde(alias = "push", alias = "ingest")]
    service: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    /// Starts `tailcast` as a service (`push` or `ingest`), and waits until it is ready. Fails when
    /// it is not ready in time; the error has its log.
    pub(crate) async fn start(
        tailcast: &Path,
        service: &str,
        kafka: &str,
        arguments: &[String],
    ) -> Result<Self> {
        let program = format!("{} {service}", tailcast.display());
        let mut child = Command::new(tailcast)
            .args([service, "--kafka", kafka, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log-filter", "info"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let mut log = BufReader::new(child.stderr.take().context("its log is piped")?).lines();
        let mut logged = String::new();
        let addresses = timeout(READY_WITHIN, addresses(&mut log, &mut logged)).await;
        let Ok(Some((address, admin))) = addresses else {
            bail!("{program} did not log its addresses; it logged:\n{logged}");
        };
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let node = Self { child, address, admin, _log: reading };
        let ready = timeout(READY_WITHIN, node.ready()).await;
        ready.with_context(|| format!("{program} is not ready after {} s", READY_WITHIN.as_secs()))?;
        Ok(node)
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the node has ended")
    }

    pub(crate) fn metrics(&self) -> Result<MetricsUrl> {
        self.metrics_url().parse().map_err(|error: String| anyhow!(error))
    }

    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.admin)
    }

    /// Kills it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("the node's exit status cannot be read")? {
            bail!("the node ended by itself ({status})");
        }
        self.child.kill().await.context("the node cannot be killed")
    }

    async fn ready(&self) {
        let mut turns = interval(RETRY);
        loop {
            turns.tick().await;
            let answer = http::get(&self.admin.to_string(), "/readyz").await;
            if answer.is_ok_and(|(status, _)| status == "200") {
                return;
            }
        }
    }
}

/// Reads the addresses of the client and admin listeners; `None` if the log ended before.
async fn addresses(
    log: &mut Lines<BufReader<ChildStderr>>,
    logged: &mut String,
) -> Option<(SocketAddr, SocketAddr)> {
    while let Ok(Some(line)) = log.next_line().await {
        if let Ok(Started { service, admin }) = serde_json::from_str(&line) {
            return Some((service, admin));
        }
        logged.push_str(&line);
        logged.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // The node used to log each listener on its own line. When it began to log all of them on one,
    // every run failed.
    #[test]
    fn the_first_log_line_of_a_node_has_its_addresses() {
        for service in ["push", "ingest"] {
            let line = format!(
                r#"{{"level":"INFO","message":"started","{service}":"127.0.0.1:4","admin":"127.0.0.1:5"}}"#
            );
            let started: Started = serde_json::from_str(&line).expect("it is JSON");
            assert_eq!((started.service.port(), started.admin.port()), (4, 5));
        }
        serde_json::from_str::<Started>(r#"{"message":"drained"}"#).expect_err("it has no addresses");
    }
}
