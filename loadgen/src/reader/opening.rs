//! The first session of a connection, before the schedule starts.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::time::timeout;

use super::{Reader, Shared};
use crate::link::Link;

/// How long a node may take, from the first packet to the last subscription.
const WITHIN: Duration = Duration::from_secs(10);

impl Reader {
    /// Opens a connection, and waits until each subscription has started. Fails when that fails or
    /// takes too long: before the schedule starts, nothing is retried.
    pub(crate) async fn open(number: u32, shared: Arc<Shared>) -> Result<(Self, Link)> {
        Self::open_within(number, shared, WITHIN).await
    }

    async fn open_within(number: u32, shared: Arc<Shared>, within: Duration) -> Result<(Self, Link)> {
        let mut reader = Self::new(number, shared)?;
        let Ok(connected) = timeout(within, Box::pin(reader.connect())).await else {
            let (node, within) = (reader.shared.endpoint(reader.node), within.as_secs());
            bail!(
                "connection {number}: {node} did not accept it and start its subscriptions within {within} s"
            );
        };
        let link = connected.with_context(|| format!("connection {number}"))?;
        Ok((reader, link))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{cli::Cli, payload::Format, plan::Plan};

    // The run used to hang for twice the timeout of a reconnecting client.
    #[tokio::test]
    async fn a_node_that_never_answers_is_named_after_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("ws://{}/v1/connect", listener.local_addr().expect("it is bound"));
        let cli = Cli::of(&format!("--url {url}"));
        let plan = Arc::new(Plan::new(1, 1, 1, Duration::from_secs(1)));
        let shared = Arc::new(Shared::new(&cli, &plan, &Arc::new(Format::new(7, 64))));
        let opened = Reader::open_within(3, shared, Duration::from_millis(50)).await;
        let error = opened.map(|_| ()).expect_err("the kernel accepts it, and nobody answers").to_string();
        assert!(error.starts_with(&format!("connection 3: {url} did not")), "{error}");
    }
}
