//! What was received and what it cost between two moments.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    report::Measured,
    server_process,
    traffic::{Count, Traffic},
};

/// The processes whose cost is measured.
#[derive(Debug, Clone)]
pub(crate) struct Servers(Vec<String>);

/// The counters at one moment.
pub(crate) struct Mark {
    at: Instant,
    count: Count,
    /// CPU time so far; `None`: there are no servers to measure.
    servers: Option<Duration>,
    own: Duration,
}

impl Servers {
    pub(crate) fn new(pids: &[u32]) -> Self {
        Self(pids.iter().map(ToString::to_string).collect())
    }

    /// Returns the CPU time of all, if there are any.
    pub(crate) fn cpu(&self) -> Result<Option<Duration>> {
        let cpu = self.0.iter().map(|pid| server_process::cpu(pid)).sum::<Result<_>>()?;
        Ok((!self.0.is_empty()).then_some(cpu))
    }

    /// Returns the memory of all in bytes, if there are any.
    pub(crate) fn memory(&self) -> Result<Option<u64>> {
        let memory = self.0.iter().map(|pid| server_process::memory(pid)).sum::<Result<_>>()?;
        Ok((!self.0.is_empty()).then_some(memory))
    }
}

impl Mark {
    /// Reads the counters.
    pub(crate) fn take(servers: &Servers, traffic: &Traffic) -> Result<Self> {
        let (servers, own) = (servers.cpu()?, server_process::cpu("self")?);
        Ok(Self { at: Instant::now(), count: traffic.count(), servers, own })
    }

    /// Returns what happened since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Measured {
        let servers = self.servers.zip(earlier.servers).map(|(now, then)| now.saturating_sub(then));
        Measured::new(self.at - earlier.at, self.count - earlier.count, servers, self.own - earlier.own)
    }
}
