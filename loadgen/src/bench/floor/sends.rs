//! The bare loop: one non-blocking `send()` of the same bytes for each delivery, when it is due.
//!
//! Absent: whatever a service adds. There are no wake-ups, no sessions, no subscriptions, and a socket that takes nothing is
//! passed over.

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

/// The latest that is told apart.
const LATE_US_MAX: u64 = 3_600_000_000;

/// What the sends cost, over the measured stretch.
#[derive(Debug, Clone)]
pub(crate) struct Sends {
    /// Of deliveries that the kernel took whole.
    pub(crate) cost: Cost,
    /// Sends that it did not take whole, because the receiver was behind by a send buffer.
    pub(crate) not_taken: u64,
    /// How late events were, in microseconds.
    pub(crate) late_us: Histogram<u64>,
}

/// A run of the loop.
struct Run {
    shape: Shape,
    schedule: Schedule,
    frame: Vec<u8>,
    /// Of the whole run.
    sent_bytes: u64,
    deliveries: u64,
    not_taken: u64,
    late_us: Histogram<u64>,
}

/// Where the measured stretch begins.
struct Mark {
    at: Instant,
    cpu: Duration,
}

/// Opens the connections and sends for the time.
///
/// # Errors
///
/// When a connection fails, or what was sent did not come.
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

/// Makes a distribution with room for an hour: recording beyond it would be cut, in silence.
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
                // Nobody unparks this thread; if something did, the time would be looked at again.
                Step::Wait(wait) => thread::park_timeout(wait),
                Step::End => break,
            }
        }
        mark.context("measuring did not begin: the machine stood still for longer than the run")
    }

    /// Forgets what was before the measured stretch, all but the bytes.
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
    fn an_event_that_is_seconds_late_is_seconds_late() {
        // The distribution had no room, and a loop that was 4 s behind was reported as 2 µs late.
        let mut late_us = lateness().expect("it can be made");
        late_us.saturating_record(4_000_000);
        assert!(late_us.max() >= 4_000_000, "{}", late_us.max());
    }
}
