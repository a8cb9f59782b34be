//! The event loop of a run.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::{
    task::JoinError,
    time::{Instant as Moment, sleep_until},
};

use super::Run;
use crate::{interval::Interval, publish::Lanes};

/// How often to poll.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What happened first.
enum Turn {
    Interval(Box<Result<Interval>>),
    Lane(Option<Result<Result<()>, JoinError>>),
    Poll,
    /// The run was asked to end; it reports what it has.
    Interrupted,
}

impl Run<'_> {
    /// Waits for the next event, and handles it.
    pub(super) async fn turn(&mut self, start: Instant, lanes: Option<&mut Lanes>) -> Result<()> {
        let mark = self.monitor.next_mark().map(|mark| Moment::from_std(start + mark));
        let poll_at = mark.into_iter().fold(Moment::now() + POLL_INTERVAL, Moment::min);
        let ended = async {
            match lanes {
                Some(lanes) => lanes.join_next().await,
                None => std::future::pending().await,
            }
        };
        let turn = tokio::select! {
            interval = self.fleet.next() => Turn::Interval(Box::new(interval)),
            lane = ended => Turn::Lane(lane),
            () = sleep_until(poll_at) => Turn::Poll,
            () = self.interrupts.next() => Turn::Interrupted,
        };
        match turn {
            Turn::Interval(interval) => self.tally.take((*interval)?),
            Turn::Lane(Some(Ok(Err(error)))) => {
                self.monitor.incidents.push(format!("a publisher ended: {error:#}"));
            }
            Turn::Lane(Some(Err(error))) => {
                self.monitor.incidents.push(format!("a publisher's task failed: {error}"));
            }
            Turn::Interrupted => {
                // The second interrupt also skips waiting for deliveries in flight.
                ensure!(!self.interrupted, "the run was interrupted twice");
                let seconds = start.elapsed().as_secs_f64();
                self.monitor.incidents.push(format!("the run was interrupted after {seconds:.1} s"));
                self.interrupted = true;
            }
            Turn::Lane(None | Some(Ok(Ok(())))) | Turn::Poll => {}
        }
        self.monitor.at(start.elapsed(), &mut self.fleet, &self.tally).await
    }
}
