//! Monitors the servers during a run, and ends a storm.
//!
//! Called regularly with the time since the start; keeps its observations for the report.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;

use crate::{
    cli::{Cli, Targets},
    fleet::Fleet,
    ledger::Ledger,
    node_metrics::{self, Labelled},
    plan::Plan,
    servers::{CpuMark, CpuUsage, MemoryTrack, Servers},
    slow::Slow,
    storm::Storm,
    tally::Tally,
};

/// Bytes that nodes have read from Kafka for clients that are behind.
const CATCH_UP_BYTES: &str = "tailcast_push_catch_up_read_bytes_total";

/// Memory of nodes for records, independent of the number of clients.
const RECORD_BYTES: [&str; 2] = ["tailcast_push_windows_bytes", "tailcast_push_catch_up_pages_bytes"];

/// Sessions closed by nodes, by close code, including closes that a client with a blocked socket
/// cannot see.
const CLOSES: &str = "tailcast_push_closes_total";

/// Time between two memory samples of servers with slow readers.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

/// How long due events may take to be acknowledged before a storm ends without them.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// Time between the reconnect command and the reconnects, so that all workers reconnect at the same
/// time.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// Monitors the servers during a run.
pub(crate) struct Monitor {
    targets: Targets,
    plan: Arc<Plan>,
    ledger: Arc<Ledger>,
    connections: u64,
    /// When to sample the memory of servers with slow readers next.
    next_memory_poll: Option<Duration>,
    storm: Option<Storm>,
    storm_stage: StormStage,
    /// Start and end of the measured period, after the start.
    measured: (Duration, Duration),
    pub(crate) servers: Servers,
    pub(crate) memory: MemoryTrack,
    first: Option<CpuMark>,
    last: Option<CpuMark>,
    closes_before: Option<Labelled>,
    pub(crate) incidents: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// The progress of a storm.
#[derive(Debug, Clone, Copy)]
enum StormStage {
    Before,
    /// All are away; the value is the bytes read before.
    Away(Option<u64>),
    Back(StormEnd),
    Over(StormEnd),
}

/// The server side of a storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StormEnd {
    /// When all reconnected, in nanoseconds after the start.
    pub(crate) reconnect_ns: u64,
    /// Bytes that the nodes read from Kafka: before the storm, and since.
    before: Option<u64>,
    pub(crate) catch_up_bytes: Option<u64>,
}

impl Monitor {
    pub(crate) fn new(
        cli: &Cli,
        plan: &Arc<Plan>,
        ledger: &Arc<Ledger>,
        storm: Option<Storm>,
    ) -> Result<Self> {
        Ok(Self {
            targets: cli.targets.clone(),
            plan: Arc::clone(plan),
            ledger: Arc::clone(ledger),
            connections: cli.readers.connections.into(),
            next_memory_poll: Slow::new(cli).map(|slow| slow.silence.start),
            storm,
            storm_stage: StormStage::Before,
            measured: (cli.load.warmup, cli.load.length()),
            servers: Servers::new(&cli.targets.server_pids)?,
            memory: MemoryTrack::default(),
            first: None,
            last: None,
            closes_before: None,
            incidents: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Starts counting closes.
    pub(crate) async fn begin(&mut self) {
        self.closes_before = self.closes().await;
    }

    /// Returns how nodes closed sessions since the start, by their own metrics.
    pub(crate) async fn closes_by_nodes(&mut self) -> Option<BTreeMap<String, u64>> {
        let after = self.closes().await?;
        Some(node_metrics::growth(self.closes_before.as_ref()?, &after))
    }

    async fn closes(&mut self) -> Option<Labelled> {
        if self.targets.server_metrics.is_empty() {
            return None;
        }
        match node_metrics::by_label(&self.targets.server_metrics, CLOSES).await {
            Ok(closes) => Some(closes),
            Err(error) => self.note("the nodes' own counts of closes are not known", &error),
        }
    }

    /// Returns when to read CPU time next, after the start.
    pub(crate) fn next_mark(&self) -> Option<Duration> {
        let first = self.first.is_none().then_some(self.measured.0);
        first.or_else(|| self.last.is_none().then_some(self.measured.1))
    }

    /// Takes the samples that are due.
    pub(crate) async fn at(&mut self, elapsed: Duration, fleet: &mut Fleet, tally: &Tally) -> Result<()> {
        if self.first.is_none() && elapsed >= self.measured.0 {
            self.first = Some(self.servers.mark());
        }
        if self.last.is_none() && elapsed >= self.measured.1 {
            self.last = Some(self.servers.mark());
        }
        if self.next_memory_poll.is_some_and(|poll| elapsed >= poll) {
            self.next_memory_poll = Some(elapsed + MEMORY_INTERVAL);
            let memory = self.own_memory().await;
            self.memory.slow(memory);
        }
        match self.storm {
            Some(storm) => self.storm(storm, elapsed, fleet, tally).await,
            None => Ok(()),
        }
    }

    /// Returns the CPU time used in the measured period, or in the part of it that took place if
    /// the run ended early.
    pub(crate) fn cpu(&mut self) -> CpuUsage {
        let last = self.last.unwrap_or_else(|| self.servers.mark());
        last.since(&self.first.unwrap_or(last))
    }

    /// Returns the server side of a storm, once all connections may reconnect.
    pub(crate) async fn storm_end(&mut self) -> Option<StormEnd> {
        match self.storm_stage {
            StormStage::Before | StormStage::Away(_) => None,
            StormStage::Back(end) => Some(self.measure(end).await),
            StormStage::Over(end) => Some(end),
        }
    }

    async fn storm(
        &mut self,
        storm: Storm,
        elapsed: Duration,
        fleet: &mut Fleet,
        tally: &Tally,
    ) -> Result<()> {
        match self.storm_stage {
            StormStage::Before if elapsed.as_nanos() >= u128::from(storm.drop_ns) => {
                self.storm_stage = StormStage::Away(self.catch_up_bytes().await);
            }
            StormStage::Away(before) if self.is_behind(storm, elapsed) => {
                let at = elapsed + RECONNECT_DELAY;
                let reconnect_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
                fleet.reconnect(reconnect_ns).await?;
                self.storm_stage = StormStage::Back(StormEnd { reconnect_ns, before, catch_up_bytes: None });
            }
            StormStage::Back(end) if tally.storm.caught_up >= self.connections => {
                self.storm_stage = StormStage::Over(self.measure(end).await);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns whether all connections have missed enough: the events are due, and acknowledged or
    /// timed out.
    fn is_behind(&self, storm: Storm, elapsed: Duration) -> bool {
        let due = Duration::from_nanos(self.plan.due_ns(storm.behind_after));
        let answered = self.ledger.answered() >= storm.behind_after;
        elapsed >= due && (answered || elapsed >= due + ACKNOWLEDGED_WITHIN)
    }

    async fn measure(&mut self, end: StormEnd) -> StormEnd {
        let read = self.catch_up_bytes().await.zip(end.before);
        StormEnd { catch_up_bytes: read.map(|(now, before)| now.saturating_sub(before)), ..end }
    }

    /// Returns the servers' memory without that for records, if they report it, because windows
    /// grow with the published records.
    pub(crate) async fn own_memory(&mut self) -> Option<u64> {
        let mut memory = self.servers.memory()?;
        for metric in RECORD_BYTES {
            if !self.targets.server_metrics.is_empty() {
                match node_metrics::sum(&self.targets.server_metrics, metric).await {
                    Ok(held) => memory = memory.saturating_sub(held),
                    Err(error) => return self.note("the nodes' memory for records is not known", &error),
                }
            }
        }
        Some(memory)
    }

    /// Notes that a value is unknown, once for each cause.
    fn note<T>(&mut self, what: &str, error: &anyhow::Error) -> Option<T> {
        let note = format!("{what}: {error:#}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        None
    }

    async fn catch_up_bytes(&mut self) -> Option<u64> {
        if self.targets.server_metrics.is_empty() {
            return None;
        }
        match node_metrics::sum(&self.targets.server_metrics, CATCH_UP_BYTES).await {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.incidents.push(format!("the number of bytes read to catch up is not known: {error:#}"));
                None
            }
        }
    }
}
