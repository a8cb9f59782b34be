//! The bare loop: one non-blocking `send()` of the same bytes for each delivery, when it is due.
//!
//! Deliberately absent: everything a service adds. There are no wake-ups, sessions or
//! subscriptions, and a blocked socket is skipped.

use std::{
    io::{self, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::{frame::frame, sockets::Sockets};
use crate::{
    bench::{
        cost::Cost,
        schedule::{Schedule, Step},
        shape::Shape,
        timing::Time,
    },
    process,
};

/// The longest lateness that is recorded.
const LATE_US_MAX: u64 = 3_600_000_000;

/// The cost of the sends in the measured period.
#[derive(Debug, Clone)]
pub(crate) struct Sends {
    /// Counts deliveries that the kernel accepted in full.
    pub(crate) cost: Cost,
    /// Sends that the kernel did not accept in full: the receiver was a whole send buffer behind.
    pub(crate) not_taken: u64,
    /// How late events were, in microseconds.
    pub(crate) late_us: Histogram<u64>,
}

/// A run of the loop.
struct Run {
    shape: Shape,
    schedule: Schedule,
    frame: Vec<u8>,
    /// Bytes accepted over the whole run.
    sent_bytes: u64,
    deliveries: u64,
    not_taken: u64,
    late_us: Histogram<u64>,
}

/// The start of the measured period.
struct Mark {
    at: Instant,
    cpu: Duration,
}

/// Opens the connections, and sends for the given time. Fails when a connection fails, or bytes
/// that were sent did not arrive.
pub(crate) fn measure(shape: &Shape, time: Time) -> Result<Sends> {
    let sockets = Sockets::open(shape.connections)?;
    let mut run = Run {
        shape: *shape,
        schedule: Schedule::new(shape.rate, time.warmup, time.duration),
        frame: frame(shape.payload),
        sent_bytes: 0,
        deliveries: 0,
        not_taken: 0,
        late_us: lateness()?,
    };
    let mark = run.run(&sockets.streams)?;
    let (took, cpu) = (mark.at.elapsed(), process::own_cpu()?.saturating_sub(mark.cpu));
    sockets.close(run.sent_bytes)?;
    let Run { deliveries, not_taken, late_us, .. } = run;
    Ok(Sends { cost: Cost { count: deliveries, took, cpu }, not_taken, late_us })
}

/// Creates a histogram with room for an hour; longer times would be truncated silently.
fn lateness() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATE_US_MAX, 3).context("three digits are a precision")
}

impl Run {
    fn run(&mut self, streams: &[TcpStream]) -> Result<Mark> {
        let start = Instant::now();
        let mut events = 0;
        let mut mark = None;
        loop {
            let elapsed = start.elapsed();
            if mark.is_none() && self.schedule.measures(elapsed) {
                mark = Some(Mark { at: Instant::now(), cpu: process::own_cpu()? });
                self.forget();
            }
            match self.schedule.step(events, elapsed) {
                Step::Send(late) => {
                    self.late_us.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
                    self.send(events, streams)?;
                    events += 1;
                }
                // Spurious wake-ups are harmless: the loop checks the time again.
                Step::Wait(wait) => thread::park_timeout(wait),
                Step::End => break,
            }
        }
        mark.context("measuring never began: the process stalled for longer than the run")
    }

    /// Discards the counts of the warm-up, except for the bytes.
    fn forget(&mut self) {
        (self.deliveries, self.not_taken) = (0, 0);
        self.late_us.reset();
    }

    fn send(&mut self, event: u64, streams: &[TcpStream]) -> Result<()> {
        for receiver in self.shape.receivers(event) {
            match (&streams[receiver]).write(&self.frame) {
                Ok(bytes) => {
                    self.sent_bytes += bytes as u64;
                    if bytes == self.frame.len() {
                        self.deliveries += 1;
                    } else {
                        self.not_taken += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.not_taken += 1,
                Err(error) => return Err(error).context("a connection failed"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lateness_of_seconds_is_recorded() {
        // The histogram was too small: a loop that was 4 s behind was reported as 2 µs late.
        let mut late_us = lateness().expect("it can be made");
        late_us.saturating_record(4_000_000);
        assert!(late_us.max() >= 4_000_000, "{}", late_us.max());
    }
}
