//! The processes whose cost is measured: CPU time over the measured stretch, and memory over the whole run.
//!
//! A process that ends during the run is said so and measured no more; what it had used is lost with it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::server_process;

/// The processes whose cost is measured.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pids: Vec<String>,
    /// Those that could not be measured any more.
    gone: BTreeSet<String>,
}

/// Memory of all of them, in bytes, at moments of the run. `None`: there are none, or one is gone.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryTrack {
    pub(crate) before: Option<u64>,
    pub(crate) idle: Option<u64>,
    /// When slow readers stopped reading; this and the next two without what servers hold of records, if they tell.
    pub(crate) slow_before: Option<u64>,
    /// The most from then on, until the end.
    pub(crate) slow_max: Option<u64>,
    pub(crate) slow_after: Option<u64>,
    pub(crate) end: Option<u64>,
}

/// The CPU time of all of them, at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuMark {
    at: Instant,
    cpu: Option<Duration>,
    own: Duration,
}

/// What was used between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuStretch {
    pub(crate) took: Duration,
    /// `None`: there are no servers to measure, or one is gone.
    pub(crate) servers: Option<Duration>,
    /// Of this process, which is not all of loadgen where there are several.
    pub(crate) own: Duration,
}

impl Servers {
    /// Takes the processes, which have to be there.
    ///
    /// # Errors
    ///
    /// When one is not.
    pub(crate) fn new(pids: &[u32]) -> Result<Self> {
        let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
        for pid in &pids {
            server_process::memory(pid)?;
        }
        Ok(Self { pids, gone: BTreeSet::new() })
    }

    /// Returns the memory of all in bytes.
    pub(crate) fn memory(&mut self) -> Option<u64> {
        self.sum(server_process::memory)
    }

    /// Returns the CPU time of all so far.
    pub(crate) fn mark(&mut self) -> CpuMark {
        let cpu = self.sum(server_process::cpu);
        CpuMark { at: Instant::now(), cpu, own: server_process::cpu("self").unwrap_or_default() }
    }

    /// Returns those that ended during the run.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &str> {
        self.gone.iter().map(String::as_str)
    }

    fn sum<T: std::iter::Sum>(&mut self, measure: impl Fn(&str) -> Result<T>) -> Option<T> {
        let mut all = Vec::with_capacity(self.pids.len());
        for pid in &self.pids {
            match measure(pid) {
                Ok(one) => all.push(one),
                Err(_) => {
                    self.gone.insert(pid.clone());
                }
            }
        }
        (!self.pids.is_empty() && all.len() == self.pids.len()).then(|| all.into_iter().sum())
    }
}

impl MemoryTrack {
    /// Takes the memory while slow readers do not read, or after.
    pub(crate) fn slow(&mut self, memory: Option<u64>) {
        self.slow_before = self.slow_before.or(memory);
        self.slow_max = self.slow_max.max(memory);
    }
}

impl CpuMark {
    /// Returns what was used since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> CpuStretch {
        CpuStretch {
            took: self.at - earlier.at,
            servers: self.cpu.zip(earlier.cpu).map(|(now, then)| now.saturating_sub(then)),
            own: self.own.saturating_sub(earlier.own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_named_and_leaves_no_half_sum() {
        let this = std::process::id();
        let mut servers = Servers::new(&[this]).expect("it runs");
        assert!(servers.memory().is_some_and(|bytes| bytes > 0));
        // Above the largest process id.
        servers.pids.push("4194305".into());
        assert_eq!(servers.memory(), None);
        assert_eq!(servers.gone().collect::<Vec<_>>(), ["4194305"]);
        assert!(Servers::new(&[4_194_305]).is_err());
    }

    #[test]
    fn the_memory_of_slow_readers_is_the_most_since_they_stopped() {
        let mut track = MemoryTrack::default();
        for memory in [Some(10), Some(30), Some(20), None] {
            track.slow(memory);
        }
        assert_eq!((track.slow_before, track.slow_max), (Some(10), Some(30)));
    }
}
