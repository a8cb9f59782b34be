//! Whether the node has memory for more sessions.
//!
//! Each limit of the node is one of many, and their sum cannot be computed in advance; the kernel's
//! count is that sum. Above the memory limit, existing sessions are served and new ones are
//! rejected.

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

/// Interval at which the kernel's count is read.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Default limit without `push.memory_bytes_max`, in percent of the memory limit of the process.
/// The rest is for the growth of existing sessions, and for the kernel, which counts sockets to the
/// same limit.
const SHARE_PERCENT: u64 = 85;

impl Admission {
    /// Limits the memory to `bytes_max`; 0: to 85 % of the limit of the process. Without a readable
    /// limit, every session is accepted.
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

    /// The limit, in bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether new sessions are rejected.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Samples once a second until the process drains.
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

    /// Applies a sample. An unreadable sample rejects nothing.
    fn sample(&self, resident: Option<u64>) {
        let is_closed = resident.is_some_and(|resident| resident > self.bytes_max);
        if self.is_closed.swap(is_closed, Ordering::Relaxed) != is_closed {
            let bytes_max = self.bytes_max;
            if is_closed {
                tracing::warn!(resident, bytes_max, "memory limit reached: new sessions are rejected");
            } else {
                tracing::info!(
                    resident,
                    bytes_max,
                    "below the memory limit: new sessions are accepted again"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_rejected_above_the_limit() {
        let admission = Admission { is_closed: Arc::default(), bytes_max: 100 };
        for (resident, is_closed) in [(Some(100), false), (Some(101), true), (Some(99), false), (None, false)]
        {
            admission.sample(resident);
            assert_eq!(admission.is_closed(), is_closed, "{resident:?}");
        }
    }

    #[test]
    fn the_default_limit_is_below_that_of_the_process() {
        let limit = memory::limit_bytes().expect("this machine has memory");
        let bytes_max = Admission::new(0).bytes_max();
        assert!(bytes_max < limit && bytes_max > limit / 2, "{bytes_max} of {limit}");
        assert!(Admission::new(1).is_closed(), "a process has more than one byte");
    }
}
