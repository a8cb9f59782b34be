//! A push node as a child process, on ports that the kernel chooses.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    task::JoinSet,
    time::{interval, timeout},
};

use super::stage::Stage;

/// How long a node may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// When to ask again.
const AGAIN: Duration = Duration::from_millis(50);

/// `push.sessions.count_max` in `src/default.toml`.
const SESSIONS_MAX: u32 = 15_000;

/// A running node. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    /// Reads on, so that the node is never held up by its log. Ends with it.
    _log: JoinSet<()>,
}

/// A line of the node's log.
#[derive(Debug, Deserialize)]
struct Line {
    push: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// A metrics page.
#[derive(Debug)]
pub(crate) struct Metrics(String);

impl Node {
    /// Starts a node, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it is not ready in time, with what it logged.
    pub(crate) async fn start(stage: &Stage, connections: u32) -> Result<Self> {
        let mut command = Command::new(&stage.tailcast);
        command.args(["push", "--kafka", &stage.kafka, "--listen", "127.0.0.1:0"]);
        command.args(["--admin-listen", "127.0.0.1:0", "--log-format", "json", "--log-filter", "info"]);
        if connections > SESSIONS_MAX {
            command.args(["--sessions-max", &connections.to_string()]);
        }
        for set in &stage.set {
            command.args(["--set", set]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let program = stage.tailcast.display();
        let mut child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
        let mut log = BufReader::new(child.stderr.take().context("its log is piped")?).lines();
        let mut logged = String::new();
        let addresses = timeout(READY_WITHIN, addresses(&mut log, &mut logged)).await;
        let Ok(Some((address, admin))) = addresses else {
            bail!("{program} does not say where it listens; it says:\n{logged}");
        };
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let node = Self { child, address, admin, _log: reading };
        timeout(READY_WITHIN, node.ready())
            .await
            .with_context(|| format!("{program} is not ready after {} s", READY_WITHIN.as_secs()))?;
        Ok(node)
    }

    /// Returns its process id.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the node has ended")
    }

    /// Returns where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/connect", self.address)
    }

    /// Returns where its metrics are.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.admin)
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// When it has ended before, by itself.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("the node cannot be waited for")? {
            bail!("the node ended by itself ({status})");
        }
        self.child.kill().await.context("the node cannot be ended")
    }

    /// Returns its metrics page.
    ///
    /// # Errors
    ///
    /// When the node does not answer.
    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(self.get("/metrics").await?))
    }

    async fn ready(&self) {
        let mut again = interval(AGAIN);
        loop {
            again.tick().await;
            if self.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return;
            }
        }
    }

    /// Asks the admin listener, and returns all that it answers.
    async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

impl Metrics {
    /// Returns the value of a metric without labels.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(metric, _)| *metric == name)?.1.trim().parse().ok()
    }
}

/// Reads where clients connect, and where its admin listener is; `None` when it ended before it said so.
async fn addresses(
    log: &mut Lines<BufReader<ChildStderr>>,
    logged: &mut String,
) -> Option<(SocketAddr, SocketAddr)> {
    while let Ok(Some(line)) = log.next_line().await {
        if let Ok(Line { push: Some(push), admin: Some(admin) }) = serde_json::from_str(&line) {
            return Some((push, admin));
        }
        logged.push_str(&line);
        logged.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_on_sessions_is_that_of_a_node() {
        let defaults = include_str!("../../../../src/default.toml");
        assert!(defaults.contains(&format!("\ncount_max = {SESSIONS_MAX}\n")));
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# TYPE a gauge\na_b 1\na{x=\"y\"} 2\na 3\n";
        assert_eq!(Metrics(page.to_owned()).value("a"), Some(3.0));
        assert_eq!(Metrics(page.to_owned()).value("b"), None);
    }

    // The node logged each listener on a line of its own, and then all of them on one: no run of a node began.
    #[test]
    fn the_line_of_the_log_that_a_node_starts_with_has_its_addresses() {
        let line =
            r#"{"level":"INFO","message":"started","node":"n","push":"127.0.0.1:4","admin":"127.0.0.1:5"}"#;
        let line: Line = serde_json::from_str(line).expect("it is JSON");
        assert_eq!((line.push.map(|it| it.port()), line.admin.map(|it| it.port())), (Some(4), Some(5)));
        let other: Line = serde_json::from_str(r#"{"message":"drained"}"#).expect("it is JSON");
        assert!(other.push.is_none());
    }
}
