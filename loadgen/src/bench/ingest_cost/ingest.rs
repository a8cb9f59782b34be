//! The ingest service that is measured: a `tailcast ingest` of its own, or one that runs already.

use anyhow::Result;
use procfs::process::Process;

use super::Flags;
use crate::{bench::node::Node, process};

/// An ingest service.
pub(crate) struct Ingest {
    /// HOST:PORT of its gRPC listener.
    pub(crate) address: String,
    pub(crate) process: Process,
    /// Ended with this.
    node: Option<Node>,
}

impl Ingest {
    /// Takes the service that was named, or starts one and waits until it is ready.
    pub(crate) async fn use_or_start(kafka: &str, flags: &Flags) -> Result<Self> {
        if let Some((address, pid)) = flags.ingest.clone().zip(flags.ingest_pid) {
            return Ok(Self { address, process: process::open(pid)?, node: None });
        }
        let node = Node::start(&flags.program()?, "ingest", kafka, &[]).await?;
        Ok(Self { address: node.address.to_string(), process: process::open(node.pid()?)?, node: Some(node) })
    }

    /// Ends it, if it was started.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.node {
            Some(node) => node.stop().await,
            None => Ok(()),
        }
    }
}
