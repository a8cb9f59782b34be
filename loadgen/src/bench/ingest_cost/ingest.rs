//! The measured ingest service: a `tailcast ingest` started here, or one that is already running.

use anyhow::Result;
use procfs::process::Process;

use super::Flags;
use crate::{bench::node::Node, process};

pub(crate) struct Ingest {
    /// HOST:PORT of its gRPC listener.
    pub(crate) address: String,
    pub(crate) process: Process,
    /// Killed when dropped; absent if the service was already running.
    node: Option<Node>,
}

impl Ingest {
    /// Uses the given service, or starts one and waits until it is ready.
    pub(crate) async fn use_or_start(kafka: &str, flags: &Flags) -> Result<Self> {
        if let Some((address, pid)) = flags.ingest.clone().zip(flags.ingest_pid) {
            return Ok(Self { address, process: process::open(pid)?, node: None });
        }
        let node = Node::start(&flags.program()?, "ingest", kafka, &[]).await?;
        Ok(Self { address: node.address.to_string(), process: process::open(node.pid()?)?, node: Some(node) })
    }

    /// Stops it, if it was started here.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.node {
            Some(node) => node.stop().await,
            None => Ok(()),
        }
    }
}
