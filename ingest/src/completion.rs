//! Completion of messages: from the producer's report to the call.
//!
//! Every message in the producer carries a `PendingMessage`. It is completed exactly once: by the
//! delivery report, by the error that kept the message out of the producer, or, if the producer is
//! destroyed without a report, when it is dropped. The `Completions` of a call collect the outcomes
//! and wake the call once for many of them.
//!
//! Invariant: the messages of a batch hold its permit, not the call. If a call ends early, its
//! messages stay in flight and count towards the limit.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Notify, time::Instant};

use crate::{
    budget::InFlightPermit,
    metrics::{Metrics, TopicMetrics},
    outcome::{Failure, FailureReason, Outcome},
};

/// The outcome of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompletedMessage {
    /// The index of the message in its call, or its sequence number on its stream.
    pub(crate) sequence: u64,
    pub(crate) outcome: Outcome,
}

/// The outcomes of a call that have arrived.
#[derive(Debug)]
pub(crate) struct Completions {
    arrived: Mutex<Vec<CompletedMessage>>,
    /// The number of outcomes at which the call is woken.
    wake_at: usize,
    wake_up: Notify,
}

/// The messages of one request.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    completions: Arc<Completions>,
    metrics: Arc<Metrics>,
    /// The counters of the messages' topics; `None` for a topic that does not exist. They are here
    /// and not in each message, because threads that clone the same `Arc` for every message contend
    /// for its reference count.
    topics: Vec<Option<Arc<TopicMetrics>>>,
    since: Instant,
    /// Released when the last message is completed.
    _permit: InFlightPermit,
}

/// A message in the producer.
#[derive(Debug)]
pub(crate) struct PendingMessage {
    /// `None` once the message is completed.
    batch: Option<Arc<PendingBatch>>,
    /// The index of its topic in the batch; `None` if the topic was not looked up.
    topic: Option<usize>,
    sequence: u64,
    bytes: usize,
}

impl Completions {
    /// For a unary call, which is woken when its last message is completed.
    pub(crate) fn of_call(messages: usize) -> Arc<Self> {
        Arc::new(Self {
            arrived: Mutex::new(Vec::with_capacity(messages)),
            wake_at: messages,
            wake_up: Notify::new(),
        })
    }

    /// For a stream, which is woken by the first message completed after its last `take`. Bounded
    /// by the stream's credits.
    pub(crate) fn of_stream() -> Arc<Self> {
        Arc::new(Self { arrived: Mutex::default(), wake_at: 1, wake_up: Notify::new() })
    }

    /// Waits until the call is woken. Cancel safe; one waiter at a time.
    pub(crate) async fn ready(&self) {
        self.wake_up.notified().await;
    }

    /// Takes the outcomes, in the order of their arrival.
    pub(crate) fn take(&self) -> Vec<CompletedMessage> {
        std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, completed: CompletedMessage) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push(completed);
        let is_due = arrived.len() == self.wake_at;
        drop(arrived);
        if is_due {
            self.wake_up.notify_one();
        }
    }
}

impl PendingBatch {
    pub(crate) fn new(
        completions: Arc<Completions>,
        metrics: Arc<Metrics>,
        topics: Vec<Option<Arc<TopicMetrics>>>,
        permit: InFlightPermit,
    ) -> Arc<Self> {
        Arc::new(Self { completions, metrics, topics, since: Instant::now(), _permit: permit })
    }

    /// A message of the batch; `topic` is the index of its topic.
    pub(crate) fn message(
        self: &Arc<Self>,
        topic: Option<usize>,
        sequence: u64,
        bytes: usize,
    ) -> PendingMessage {
        PendingMessage { batch: Some(Arc::clone(self)), topic, sequence, bytes }
    }
}

impl PendingMessage {
    /// Completes the message.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        if let Some(batch) = self.batch.take() {
            self.end(&batch, outcome);
        }
    }

    fn end(&self, batch: &PendingBatch, outcome: Outcome) {
        let topic = self.topic.and_then(|place| batch.topics.get(place)?.as_deref());
        batch.metrics.ended(topic, &outcome, self.bytes, batch.since.elapsed());
        batch.completions.add(CompletedMessage { sequence: self.sequence, outcome });
    }
}

impl Drop for PendingMessage {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            let cause =
                Failure::new(FailureReason::KafkaUnavailable, "the producer ended before Kafka answered");
            self.end(&batch, Outcome::Unknown(cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use tailcast_proto::TopicName;

    use super::*;
    use crate::{
        budget::{Cost, InFlightBudget},
        metrics::InFlight,
    };

    fn batch(completions: &Arc<Completions>, budget: &InFlightBudget, messages: usize) -> Arc<PendingBatch> {
        let permit = budget.take(Cost { messages, bytes: 0 }).expect("there is room");
        PendingBatch::new(Arc::clone(completions), Arc::default(), Vec::new(), permit)
    }

    fn budget() -> InFlightBudget {
        InFlightBudget::new(Cost { messages: 10, bytes: 10 }, InFlight::default())
    }

    fn refused() -> Outcome {
        Outcome::Refused(Failure::new(FailureReason::KafkaError, "a test"))
    }

    #[test]
    fn a_call_is_woken_once_when_its_last_message_is_completed() {
        let completions = Completions::of_call(2);
        let batch = batch(&completions, &budget(), 2);
        batch.message(Some(0), 1, 0).complete(refused());
        assert!(completions.ready().now_or_never().is_none());
        batch.message(Some(0), 0, 0).complete(refused());
        assert!(completions.ready().now_or_never().is_some());
        assert_eq!(completions.take().iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_stream_is_woken_once_for_all_completed_messages() {
        let completions = Completions::of_stream();
        let batch = batch(&completions, &budget(), 3);
        batch.message(Some(0), 1, 0).complete(refused());
        batch.message(Some(0), 2, 0).complete(refused());
        assert!(completions.ready().now_or_never().is_some());
        assert!(completions.ready().now_or_never().is_none());
        assert_eq!(completions.take().len(), 2);
        batch.message(Some(0), 3, 0).complete(refused());
        assert!(completions.ready().now_or_never().is_some());
    }

    #[test]
    fn a_batch_keeps_its_permit_until_its_last_message_is_completed() {
        let budget = budget();
        let completions = Completions::of_call(2);
        let batch = batch(&completions, &budget, 10);
        let messages = [batch.message(Some(0), 0, 0), batch.message(Some(0), 1, 0)];
        // The call ends early.
        drop((batch, completions));
        let [first, second] = messages;
        first.complete(refused());
        assert!(budget.take(Cost { messages: 1, bytes: 0 }).is_err());
        second.complete(refused());
        assert!(budget.take(Cost { messages: 10, bytes: 0 }).is_ok());
    }

    #[test]
    fn a_dropped_message_has_an_unknown_outcome() {
        let completions = Completions::of_call(1);
        let batch = batch(&completions, &budget(), 1);
        drop(batch.message(Some(0), 0, 0));
        assert!(matches!(
            completions.take().as_slice(),
            [CompletedMessage { outcome: Outcome::Unknown(_), .. }]
        ));
    }

    #[test]
    fn a_message_is_counted_for_its_own_topic() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let topic = |name| Some(metrics.topic(&TopicName::parse(name).expect("a topic name")));
        let permit = budget().take(Cost { messages: 3, bytes: 0 }).expect("there is room");
        let topics = vec![topic("quotes"), None, topic("trades")];
        let batch = PendingBatch::new(Completions::of_call(3), Arc::clone(&metrics), topics, permit);
        for (place, bytes) in [(0, 5), (1, 6), (2, 7)] {
            batch.message(Some(place), 0, bytes).complete(Outcome::of_acknowledgement(0, 0));
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("metrics encode");
        let counted = text.lines().filter(|line| line.starts_with("acknowledged_bytes_total"));
        let mut counted: Vec<_> = counted.collect();
        counted.sort_unstable();
        let expected =
            ["acknowledged_bytes_total{topic=\"quotes\"} 5", "acknowledged_bytes_total{topic=\"trades\"} 7"];
        assert_eq!(counted, expected);
    }
}
