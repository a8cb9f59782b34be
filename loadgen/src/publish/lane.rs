//! One publisher's part of the plan, and its lateness.

use std::{ops::Range, sync::Arc, time::Instant};

use tailcast_proto::ingest::v1;
use tokio::{sync::watch, task::consume_budget};

use super::Publishing;

/// The most events per request; ingest accepts no more.
const BATCH_MAX: u64 = 500;

/// The most bytes per request: half of what gRPC servers accept by default.
const BATCH_BYTES_MAX: u64 = 2 << 20;

/// One publisher's part of the plan.
pub(super) struct Lane {
    pub(super) publishing: Arc<Publishing>,
    pub(super) number: u64,
    due: watch::Receiver<u64>,
    start: Instant,
    /// The index of the next event on this lane.
    pub(super) next: u64,
    /// Whether the lane is late because of backpressure. A backlog outlasts its cause, so this
    /// stays set until the lane waits for the clock again.
    backpressured: bool,
}

impl Lane {
    pub(super) fn new(
        publishing: Arc<Publishing>,
        number: u64,
        due: watch::Receiver<u64>,
        start: Instant,
    ) -> Self {
        Self { publishing, number, due, start, next: 0, backpressured: false }
    }

    /// Waits until events of this lane are due, and returns them, at most one request's worth;
    /// `None` when there are no more. Records the lateness, unless it is due to backpressure.
    pub(super) async fn take(&mut self) -> Option<Range<u64>> {
        // A lane that is always behind never waits here, and could not be aborted.
        consume_budget().await;
        let plan = &self.publishing.plan;
        let end = plan.on_lane(self.number, plan.events());
        let due = loop {
            if self.next == end {
                return None;
            }
            let due = plan.on_lane(self.number, *self.due.borrow_and_update());
            if due > self.next {
                break due;
            }
            self.backpressured = false;
            // The clock ends only when all events are due, which the next iteration sees.
            let _ = self.due.changed().await;
        };
        if !self.backpressured {
            let at = plan.due_ns(plan.number(self.number, self.next));
            let late = self.start.elapsed().as_nanos().saturating_sub(u128::from(at)) / 1000;
            self.publishing.lateness.record(u64::try_from(late).unwrap_or(u64::MAX));
        }
        // 64 bytes cover the key, the topic's tag and the framing of a small message.
        let bytes = self.publishing.payload as u64 + self.publishing.topic.len() as u64 + 64;
        let batch = (BATCH_BYTES_MAX / bytes).clamp(1, BATCH_MAX);
        let taken = self.next..due.min(self.next + batch);
        self.next = taken.end;
        self.publishing.ledger.publish(taken.end - taken.start);
        Some(taken)
    }

    /// Records that the publish path made the lane wait.
    pub(super) fn note_backpressure(&mut self) {
        self.backpressured = true;
    }

    /// Returns the number of one of this lane's events.
    pub(super) fn number(&self, index: u64) -> u64 {
        self.publishing.plan.number(self.number, index)
    }

    pub(super) fn messages(&self, batch: Range<u64>) -> Vec<v1::Message> {
        batch.map(|index| self.publishing.message(self.number(index))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{cli::Cli, layout::Layout, ledger::Ledger, payload::Format, plan::Plan, publish::Lateness};

    /// The only lane of a run of 2,000 events in a second that has passed.
    fn lane() -> (Lane, watch::Sender<u64>) {
        let cli = Cli::of("");
        let plan = Plan::new(2000, 1, 1, Duration::from_secs(1));
        let publishing = Publishing {
            ledger: Arc::new(Ledger::new(plan.events())),
            plan: Arc::new(plan),
            format: Arc::new(Format::new(1, 36)),
            layout: Layout::new(&cli),
            topic: "t".into(),
            payload: 36,
            lateness: Arc::new(Lateness::new()),
        };
        let (clock, due) = watch::channel(0);
        (Lane::new(Arc::new(publishing), 0, due, Instant::now()), clock)
    }

    fn noted(lane: &Lane) -> u64 {
        lane.publishing.lateness.so_far().0.len()
    }

    // Only lanes that waited for the clock used to record lateness: a lane that could never keep up
    // was not late at all.
    #[tokio::test]
    async fn a_lane_that_is_always_behind_records_its_lateness() {
        let (mut lane, clock) = lane();
        clock.send_replace(2000);
        for taken in 1..=4 {
            assert_eq!(lane.take().await.map(|batch| batch.end), Some(taken * 500));
            assert_eq!(noted(&lane), taken);
        }
        assert_eq!(lane.take().await, None);
    }

    #[tokio::test]
    async fn lateness_after_backpressure_counts_only_once_the_lane_has_caught_up() {
        let (mut lane, clock) = lane();
        clock.send_replace(1000);
        lane.note_backpressure();
        lane.take().await;
        lane.take().await;
        assert_eq!(noted(&lane), 0, "the backlog is the server's");
        let more = async {
            tokio::task::yield_now().await;
            clock.send_replace(1500);
        };
        tokio::join!(lane.take(), more);
        assert_eq!(noted(&lane), 1, "it waited for the clock");
    }
}
