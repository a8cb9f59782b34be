//! The connections that stop reading or read slowly, and when.

use std::{ops::Range, time::Duration};

use crate::cli::Cli;

/// The connections that stop reading for a while.
#[derive(Debug, Clone)]
pub(crate) struct Slow {
    percent: u32,
    /// The size of their receive buffers in bytes, as requested from the kernel.
    pub(crate) receive_buffer: u32,
    /// When they do not read, after the start of the schedule.
    pub(crate) silence: Range<Duration>,
    /// How long they pause after each message; `None`: they do not read at all.
    pub(crate) pause: Option<Duration>,
}

impl Slow {
    /// Returns them, if there are any.
    pub(crate) fn new(cli: &Cli) -> Option<Self> {
        let faults = &cli.faults;
        let from = cli.load.warmup + faults.slow_after;
        (faults.slow_percent > 0).then(|| Self {
            percent: faults.slow_percent.into(),
            receive_buffer: faults.slow_receive_buffer,
            silence: from..from + faults.slow_for,
            pause: faults.slow_pause,
        })
    }

    /// Returns whether a connection is slow. Slow connections are spread evenly.
    pub(crate) fn has(&self, connection: u32) -> bool {
        self.among(connection) < self.among(connection + 1)
    }

    /// Returns how many of the first `connections` connections are slow.
    pub(crate) fn among(&self, connections: u32) -> u64 {
        u64::from(connections) * u64::from(self.percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn the_percentage_holds_for_any_number_of_connections(percent in 0_u32..=100, connections in 0_u32..1000) {
            let silence = Duration::ZERO..Duration::ZERO;
            let slow = Slow { percent, receive_buffer: 4096, silence, pause: None };
            let count = (0..connections).filter(|connection| slow.has(*connection)).count() as u64;
            assert_eq!(count, slow.among(connections));
        }
    }
}
