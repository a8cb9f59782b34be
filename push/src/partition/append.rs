//! How records enter a partition: through its fence, into its last values and its window, with a
//! ring for each subscribed session.
//!
//! Invariant: records are appended in the order in which they were received. Held batches are
//! appended under the fence's lock, so nothing received later can overtake them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::Partition;
use crate::{
    partition::fence::{FenceDecision, Needs},
    record::batch::RecordBatch,
    wake::doorbell::Doorbell,
};

/// What happened to a received batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    Appended,
    /// Appended. The topic id has to be confirmed soon, or the next batches are held.
    ConfirmSoon,
    /// Held until Kafka confirms the topic id.
    Held,
    /// Discarded, with all held batches: the partition has to be assigned again.
    Overflow,
}

impl Partition {
    /// Receives a batch that was polled at `now` and fetched after `fetched_after`. Appends it if
    /// it is known to be of this topic, and holds it otherwise.
    pub(crate) fn receive(&self, batch: RecordBatch, fetched_after: Instant, now: Instant) -> AppendOutcome {
        let mut rung = Vec::new();
        let arrived = {
            let mut fence = self.fence.lock();
            match fence.receive(batch, fetched_after, now) {
                FenceDecision::Append(batch) => {
                    // Under the fence's lock, so that held batches go first.
                    self.append_trusted(batch, &mut rung);
                    AppendOutcome::Appended
                }
                FenceDecision::AppendAndConfirm(batch) => {
                    self.append_trusted(batch, &mut rung);
                    AppendOutcome::ConfirmSoon
                }
                FenceDecision::Hold => AppendOutcome::Held,
                FenceDecision::Overflow => AppendOutcome::Overflow,
            }
        };
        self.fan_out.serve(rung);
        arrived
    }

    /// Starts a confirmation of the topic id. Returns false if none is needed or one is in
    /// progress.
    pub(crate) fn begin_confirmation(&self) -> bool {
        self.fence.lock().begin_confirmation()
    }

    /// Takes the result of a confirmation that began at `asked_at`: whether Kafka's topic id is
    /// this partition's, or `None` if Kafka did not answer. Returns what is needed next.
    pub(crate) fn confirmation_result(&self, asked_at: Instant, is_same: Option<bool>) -> Needs {
        let mut rung = Vec::new();
        let needs = {
            let mut fence = self.fence.lock();
            match is_same {
                Some(true) => {
                    fence
                        .confirmed(asked_at)
                        .into_iter()
                        .for_each(|batch| self.append_trusted(batch, &mut rung));
                }
                Some(false) => fence.discard(),
                None => return fence.confirmation_failed(),
            }
            fence.needs()
        };
        self.fan_out.serve(rung);
        needs
    }

    /// Discards held batches, because they are going to be read again.
    pub(crate) fn discard_held(&self) {
        self.fence.lock().discard();
    }

    /// Whether batches are held until Kafka confirms the topic id.
    pub(crate) fn is_holding(&self) -> bool {
        self.fence.lock().is_holding()
    }

    /// Appends records after the head and rings their subscribers.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn append(&self, batch: RecordBatch) {
        let mut rung = Vec::new();
        self.append_trusted(batch, &mut rung);
        self.fan_out.serve(rung);
    }

    /// Appends records after the head. Adds the doorbells that the fan-out has to serve to `rung`,
    /// for when no lock is held.
    fn append_trusted(&self, batch: RecordBatch, rung: &mut Vec<Arc<Doorbell>>) {
        self.last_timestamp_ms.store(batch.last_timestamp_ms(), Ordering::Relaxed);
        // Before the head moves, so that a reader of last values up to a head finds everything
        // before it.
        if let Some(last_values) = &self.last_values {
            last_values.append(&batch);
        }
        for log in self.window(|window| window.append(batch)) {
            log.ring(rung);
        }
    }
}
