//! The measured processes: CPU time over the measured period, and memory over the whole run.
//!
//! A process that ends during the run is reported and no longer measured; the CPU time it used is
//! lost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use procfs::process::Process;

use crate::process;

/// The measured processes.
#[derive(Debug)]
pub(crate) struct Servers {
    processes: Vec<Process>,
    /// Ids of processes that have ended.
    gone: BTreeSet<i32>,
}

/// Total memory, in bytes, at points of the run. `None` if there are no processes, or one has
/// ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryTrack {
    pub(crate) before: Option<u64>,
    pub(crate) idle: Option<u64>,
    /// When slow readers stopped reading; this and the next two exclude memory for records, if the
    /// servers report it.
    pub(crate) slow_before: Option<u64>,
    /// The maximum from then on, until the end.
    pub(crate) slow_max: Option<u64>,
    pub(crate) slow_after: Option<u64>,
    pub(crate) end: Option<u64>,
}

/// The total CPU time at a point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuMark {
    at: Instant,
    cpu: Option<Duration>,
    own: Duration,
}

/// CPU time used between two points in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuUsage {
    pub(crate) took: Duration,
    /// `None` if there are no servers to measure, or one has ended.
    pub(crate) servers: Option<Duration>,
    /// CPU time of this process only, without workers.
    pub(crate) own: Duration,
}

impl Servers {
    /// Opens the processes, which must be running.
    pub(crate) fn new(pids: &[u32]) -> Result<Self> {
        let processes = pids.iter().map(|pid| process::open(*pid)).collect::<Result<_>>()?;
        Ok(Self { processes, gone: BTreeSet::new() })
    }

    /// Returns the total memory in bytes.
    pub(crate) fn memory(&mut self) -> Option<u64> {
        self.sum(process::memory)
    }

    /// Returns the total CPU time so far.
    pub(crate) fn mark(&mut self) -> CpuMark {
        let cpu = self.sum(process::cpu);
        CpuMark { at: Instant::now(), cpu, own: process::own_cpu().unwrap_or_default() }
    }

    /// Returns the processes that ended during the run.
    pub(crate) fn gone(&self) -> impl Iterator<Item = i32> {
        self.gone.iter().copied()
    }

    fn sum<T: std::iter::Sum>(&mut self, measure: impl Fn(&Process) -> Result<T>) -> Option<T> {
        let mut all = Vec::with_capacity(self.processes.len());
        for process in &self.processes {
            match measure(process) {
                Ok(one) => all.push(one),
                Err(_) => {
                    self.gone.insert(process.pid);
                }
            }
        }
        (!self.processes.is_empty() && all.len() == self.processes.len()).then(|| all.into_iter().sum())
    }
}

impl MemoryTrack {
    /// Records the memory while slow readers do not read, or afterwards.
    pub(crate) fn slow(&mut self, memory: Option<u64>) {
        self.slow_before = self.slow_before.or(memory);
        self.slow_max = self.slow_max.max(memory);
    }
}

impl CpuMark {
    /// Returns the CPU time used since an earlier mark.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUsage {
        CpuUsage {
            took: self.at - earlier.at,
            servers: self.cpu.zip(earlier.cpu).map(|(now, then)| now.saturating_sub(then)),
            own: self.own.saturating_sub(earlier.own),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_ended_process_is_named_and_leaves_no_partial_sum() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("there is sleep");
        let mut servers = Servers::new(&[std::process::id(), child.id()]).expect("they run");
        assert!(servers.memory().is_some_and(|bytes| bytes > 0));
        child.kill().and_then(|()| child.wait()).expect("it can be ended");
        assert_eq!(servers.memory(), None);
        let gone: Vec<_> = servers.gone().map(i32::cast_unsigned).collect();
        assert_eq!(gone, [child.id()]);
        assert!(Servers::new(&[4_194_305]).is_err());
    }

    #[test]
    fn the_memory_of_slow_readers_is_the_maximum_since_they_stopped() {
        let mut track = MemoryTrack::default();
        for memory in [Some(10), Some(30), Some(20), None] {
            track.slow(memory);
        }
        assert_eq!((track.slow_before, track.slow_max), (Some(10), Some(30)));
    }
}
