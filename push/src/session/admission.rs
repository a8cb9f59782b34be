//! Whether the node has memory for more sessions.
//!
//! Each bound of the node is one of many, and their sum is what nobody can reckon; what the kernel counts is the sum. Above
//! its bound those who are here are served, and nobody else is taken in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tailcast_services::{lifecycle::Lifecycle, memory};
use tokio::time::MissedTickBehavior;

/// Whether the node has memory for more sessions.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    is_closed: Arc<AtomicBool>,
    bytes_max: u64,
}

/// How often the kernel is asked.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Which part of the memory that the process may have is its own without `push.memory_bytes_max`, in percent. The rest is for
/// what comes of those who are here already, and for the kernel, which counts sockets to the same limit.
const SHARE_PERCENT: u64 = 85;

impl Admission {
    /// Bounds the memory at `bytes_max`; 0: at 85 % of what the process may have. Without a limit that can be read, everybody
    /// is taken in.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = match (bytes_max, memory::limit_bytes()) {
            (0, Some(limit)) => limit / 100 * SHARE_PERCENT,
            (0, None) => u64::MAX,
            (bytes_max, _) => bytes_max,
        };
        let admission = Self { is_closed: Arc::default(), bytes_max };
        admission.sample(memory::resident_bytes());
        admission
    }

    /// The bound, in bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether nobody is taken in.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Looks once a second until the process drains.
    pub(crate) async fn watch(self, lifecycle: Lifecycle) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = lifecycle.draining() => return,
                _ = ticks.tick() => self.sample(memory::resident_bytes()),
            }
        }
    }

    /// Takes how much memory the process has. What cannot be read closes nothing.
    fn sample(&self, resident: Option<u64>) {
        let is_closed = resident.is_some_and(|resident| resident > self.bytes_max);
        if self.is_closed.swap(is_closed, Ordering::Relaxed) != is_closed {
            let bytes_max = self.bytes_max;
            if is_closed {
                tracing::warn!(resident, bytes_max, "no memory for more sessions: upgrades are refused");
            } else {
                tracing::info!(resident, bytes_max, "memory for more sessions again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_in_above_the_bound() {
        let admission = Admission { is_closed: Arc::default(), bytes_max: 100 };
        for (resident, is_closed) in [(Some(100), false), (Some(101), true), (Some(99), false), (None, false)]
        {
            admission.sample(resident);
            assert_eq!(admission.is_closed(), is_closed, "{resident:?}");
        }
    }

    #[test]
    fn without_a_figure_the_bound_is_below_what_the_process_may_have() {
        let limit = memory::limit_bytes().expect("this machine has memory");
        let bytes_max = Admission::new(0).bytes_max();
        assert!(bytes_max < limit && bytes_max > limit / 2, "{bytes_max} of {limit}");
        assert!(Admission::new(1).is_closed(), "a process has more than one byte");
    }
}
