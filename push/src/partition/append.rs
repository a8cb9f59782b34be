//! How records get into a partition: past its fence, into its last values and its window, and to those who watch.
//!
//! Invariant: records are appended in the order in which they arrived. What the fence holds is appended under its lock, so
//! that nothing that arrives later can overtake it.

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

/// What became of records that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    Appended,
    /// They are appended, and Kafka has to be asked so that the next ones can be.
    ConfirmSoon,
    /// They are held until Kafka confirms the topic's id.
    Held,
    /// They were given up: the partition has to be assigned anew.
    Overflow,
}

impl Partition {
    /// Takes records that were taken at `now` and fetched after `fetched_after`: appends them if they are of this topic, holds
    /// them while that is not sure.
    pub(crate) fn receive(&self, batch: RecordBatch, fetched_after: Instant, now: Instant) -> AppendOutcome {
        let mut rung = Vec::new();
        let arrived = {
            let mut fence = self.fence.lock();
            match fence.receive(batch, fetched_after, now) {
                FenceDecision::Append(batch) => {
                    // Under the fence's lock: what was held before goes first.
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
        self.fan_out.attend(rung);
        arrived
    }

    /// Begins to ask Kafka for the topic's id. Returns whether that is needed, and nobody asks yet.
    pub(crate) fn begin_confirmation(&self) -> bool {
        self.fence.lock().begin_confirmation()
    }

    /// Takes the answer to a question asked at `asked_at`: whether the topic's id is that of this partition. `None`: there
    /// was no answer. Returns what is needed then.
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
        self.fan_out.attend(rung);
        needs
    }

    /// Drops what is held: it is going to be read again.
    pub(crate) fn discard_held(&self) {
        self.fence.lock().discard();
    }

    /// Whether something is held until Kafka confirms the topic's id.
    pub(crate) fn is_holding(&self) -> bool {
        self.fence.lock().is_holding()
    }

    /// Appends records that Kafka has after the head, and rings whom they concern.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn append(&self, batch: RecordBatch) {
        let mut rung = Vec::new();
        self.append_trusted(batch, &mut rung);
        self.fan_out.attend(rung);
    }

    /// Appends records that Kafka has after the head. Adds those who are to be attended to for them, once no lock is held.
    fn append_trusted(&self, batch: RecordBatch, rung: &mut Vec<Arc<Doorbell>>) {
        self.last_timestamp_ms.store(batch.last_timestamp_ms(), Ordering::Relaxed);
        // Before the head moves: whoever reads them up to a head finds what is before it.
        if let Some(last_values) = &self.last_values {
            last_values.append(&batch);
        }
        for log in self.window(|window| window.append(batch)) {
            log.ring(rung);
        }
    }
}
