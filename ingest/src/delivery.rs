//! From the producer's report on one message to the call that waits for it.
//!
//! Every message in the producer's hands carries a `Delivery`. It is completed exactly once: by the report, by the error
//! that kept the message out of the producer, or, if the producer is destroyed without a report, by being dropped. The
//! outcomes gather in the `Completions` of the call, which is woken once for many of them.
//!
//! Invariant: the permit of a batch is held by its deliveries, not by the call. A call that goes away leaves its
//! messages, and what they hold of the budget, to Kafka.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Notify, time::Instant};

use crate::{
    budget::Permit,
    metrics::{Metrics, TopicMetrics},
    outcome::{Cause, Outcome, Why},
};

/// How one message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completed {
    /// The message's place in its call: an index, or the sequence number that the caller gave it.
    pub(crate) sequence: u64,
    pub(crate) outcome: Outcome,
}

/// Where the outcomes of a call gather.
#[derive(Debug)]
pub(crate) struct Completions {
    gathered: Mutex<Vec<Completed>>,
    /// How many gathered outcomes wake the call.
    enough: usize,
    bell: Notify,
}

/// What the messages of one request have in common.
#[derive(Debug)]
pub(crate) struct Batch {
    completions: Arc<Completions>,
    metrics: Arc<Metrics>,
    since: Instant,
    /// Given back when the last delivery is completed.
    _permit: Permit,
}

/// What one message in the producer's hands carries.
#[derive(Debug)]
pub(crate) struct Delivery {
    batch: Arc<Batch>,
    /// Absent for a message whose topic does not exist.
    topic: Option<Arc<TopicMetrics>>,
    sequence: u64,
    bytes: usize,
    completed: bool,
}

impl Completions {
    /// For a unary call: it is woken when the last of its messages is completed.
    pub(crate) fn of_call(messages: usize) -> Arc<Self> {
        Arc::new(Self {
            gathered: Mutex::new(Vec::with_capacity(messages)),
            enough: messages,
            bell: Notify::new(),
        })
    }

    /// For a stream: it is woken by the first message that is completed after it took the outcomes last. Bounded by the
    /// stream's credits.
    pub(crate) fn of_stream() -> Arc<Self> {
        Arc::new(Self { gathered: Mutex::default(), enough: 1, bell: Notify::new() })
    }

    /// Waits for enough outcomes. Cancel safe; one waiter at a time.
    pub(crate) async fn gathered(&self) {
        self.bell.notified().await;
    }

    /// Takes the outcomes gathered, in the order in which they came.
    pub(crate) fn take(&self) -> Vec<Completed> {
        std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, completed: Completed) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.push(completed);
        let enough = gathered.len() == self.enough;
        drop(gathered);
        if enough {
            self.bell.notify_one();
        }
    }
}

impl Batch {
    pub(crate) fn new(completions: Arc<Completions>, metrics: Arc<Metrics>, permit: Permit) -> Arc<Self> {
        Arc::new(Self { completions, metrics, since: Instant::now(), _permit: permit })
    }

    /// What a message of the batch carries.
    pub(crate) fn delivery(
        self: &Arc<Self>,
        topic: Option<Arc<TopicMetrics>>,
        sequence: u64,
        bytes: usize,
    ) -> Delivery {
        Delivery { batch: Arc::clone(self), topic, sequence, bytes, completed: false }
    }
}

impl Delivery {
    /// Says how the message ended.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        self.completed = true;
        let latency = self.batch.since.elapsed();
        self.batch.metrics.ended(self.topic.as_deref(), &outcome, self.bytes, latency);
        self.batch.completions.add(Completed { sequence: self.sequence, outcome });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.completed {
            self.end(Outcome::Unknown(Cause::new(
                Why::KafkaUnavailable,
                "the producer ended before Kafka answered",
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{
        budget::{Budget, Cost},
        metrics::InFlight,
    };

    fn batch(completions: &Arc<Completions>, budget: &Budget, messages: usize) -> Arc<Batch> {
        let permit = budget.take(Cost { messages, bytes: 0 }).expect("there is room");
        Batch::new(Arc::clone(completions), Arc::default(), permit)
    }

    fn budget() -> Budget {
        Budget::new(Cost { messages: 10, bytes: 10 }, InFlight::default())
    }

    fn refused() -> Outcome {
        Outcome::Refused(Cause::new(Why::KafkaError, "a test"))
    }

    #[test]
    fn a_call_is_woken_once_when_its_last_message_is_completed() {
        let completions = Completions::of_call(2);
        let batch = batch(&completions, &budget(), 2);
        batch.delivery(None, 1, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_none());
        batch.delivery(None, 0, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
        assert_eq!(completions.take().iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_stream_is_woken_once_for_all_that_gathered() {
        let completions = Completions::of_stream();
        let batch = batch(&completions, &budget(), 3);
        batch.delivery(None, 1, 0).complete(refused());
        batch.delivery(None, 2, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
        assert!(completions.gathered().now_or_never().is_none());
        assert_eq!(completions.take().len(), 2);
        batch.delivery(None, 3, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
    }

    #[test]
    fn a_batch_keeps_its_budget_until_its_last_message_is_completed() {
        let budget = budget();
        let completions = Completions::of_call(2);
        let batch = batch(&completions, &budget, 10);
        let deliveries = [batch.delivery(None, 0, 0), batch.delivery(None, 1, 0)];
        // The call goes away.
        drop((batch, completions));
        let [first, second] = deliveries;
        first.complete(refused());
        assert!(budget.take(Cost { messages: 1, bytes: 0 }).is_err());
        second.complete(refused());
        assert!(budget.take(Cost { messages: 10, bytes: 0 }).is_ok());
    }

    #[test]
    fn a_delivery_that_is_dropped_ends_unknown() {
        let completions = Completions::of_call(1);
        let batch = batch(&completions, &budget(), 1);
        drop(batch.delivery(None, 0, 0));
        assert!(matches!(completions.take().as_slice(), [Completed { outcome: Outcome::Unknown(_), .. }]));
    }
}
