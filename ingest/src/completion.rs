//! From the producer's report on one message to the call that waits for it.
//!
//! Every message in the producer's hands carries a `PendingMessage`. It is completed exactly once: by the report, by the error
//! that kept the message out of the producer, or, if the producer is destroyed without a report, by being dropped. The
//! outcomes gather in the `Completions` of the call, which is woken once for many of them.
//!
//! Invariant: the permit of a batch is held by its deliveries, not by the call. A call that goes away leaves its
//! messages, and what they hold of the budget, to Kafka.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Notify, time::Instant};

use crate::{
    budget::InFlightPermit,
    metrics::{Metrics, TopicMetrics},
    outcome::{Failure, FailureReason, Outcome},
};

/// How one message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompletedMessage {
    /// The message's place in its call: an index, or the sequence number that the caller gave it.
    pub(crate) sequence: u64,
    pub(crate) outcome: Outcome,
}

/// Where the outcomes of a call gather.
#[derive(Debug)]
pub(crate) struct Completions {
    gathered: Mutex<Vec<CompletedMessage>>,
    /// How many gathered outcomes wake the call.
    enough: usize,
    bell: Notify,
}

/// What the messages of one request have in common.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    completions: Arc<Completions>,
    metrics: Arc<Metrics>,
    /// The counters of the topics that the messages name; none of a topic that does not exist. Here and not in each delivery,
    /// because two threads that count references to the same counters for every message wait for each other.
    topics: Vec<Option<Arc<TopicMetrics>>>,
    since: Instant,
    /// Given back when the last delivery is completed.
    _permit: InFlightPermit,
}

/// What one message in the producer's hands carries.
#[derive(Debug)]
pub(crate) struct PendingMessage {
    /// Taken when the message is completed.
    batch: Option<Arc<PendingBatch>>,
    /// The place of its topic in the batch; none of a message whose topic was not looked up.
    topic: Option<usize>,
    sequence: u64,
    bytes: usize,
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
    pub(crate) fn take(&self) -> Vec<CompletedMessage> {
        std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, completed: CompletedMessage) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.push(completed);
        let enough = gathered.len() == self.enough;
        drop(gathered);
        if enough {
            self.bell.notify_one();
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

    /// What a message of the batch carries; `topic` is the place of its topic.
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
    /// Says how the message ended.
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
        assert!(completions.gathered().now_or_never().is_none());
        batch.message(Some(0), 0, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
        assert_eq!(completions.take().iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_stream_is_woken_once_for_all_that_gathered() {
        let completions = Completions::of_stream();
        let batch = batch(&completions, &budget(), 3);
        batch.message(Some(0), 1, 0).complete(refused());
        batch.message(Some(0), 2, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
        assert!(completions.gathered().now_or_never().is_none());
        assert_eq!(completions.take().len(), 2);
        batch.message(Some(0), 3, 0).complete(refused());
        assert!(completions.gathered().now_or_never().is_some());
    }

    #[test]
    fn a_batch_keeps_its_budget_until_its_last_message_is_completed() {
        let budget = budget();
        let completions = Completions::of_call(2);
        let batch = batch(&completions, &budget, 10);
        let deliveries = [batch.message(Some(0), 0, 0), batch.message(Some(0), 1, 0)];
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
