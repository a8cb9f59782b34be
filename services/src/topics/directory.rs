//! The thread that queries Kafka for topics.
//!
//! It takes pending lookups from the queue, sends a request, answers the lookups, broadcasts
//! changes, and reports through its condition whether Kafka answers.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;
use tailcast_proto::{Epoch, TopicName};
use tailcast_topic_id::TopicAnswer;

use super::cache::{Effect, Request};
use super::lookup_queue::{LookupResult, PendingLookups};
use super::{Epochs, LookupError, LookupFailure, Topic, TopicsConfig, TopicsState};
use crate::kafka::{BrokerFailure, Context};
use crate::readiness::Condition;

/// Interval at which the client is polled, which writes librdkafka's log.
const LOG_POLL: Duration = Duration::from_millis(100);
/// The pause after a failed request.
const RETRY: Duration = Duration::from_secs(1);
/// Failed refreshes after which the node should not receive traffic.
const FAILED_REFRESHES_MAX: u32 = 3;
/// The topic to query if there is no other. Every Kafka answers for this name.
const PROBE: &str = "__consumer_offsets";

/// The thread's state.
pub(super) struct Directory {
    client: BaseConsumer<Context>,
    epochs: Epochs,
    config: TopicsConfig,
    condition: Condition,
    shared: Arc<TopicsState>,
    refresh_at: Instant,
    answered_at: Option<Instant>,
    outage: Option<Outage>,
}

/// An outage of Kafka, since the first failed request.
struct Outage {
    since: SystemTime,
    /// The reported reason. It changes only when the broker becomes known, so that it is not logged
    /// with each request.
    reason: String,
    has_address: bool,
}

/// Kafka's answer about one topic.
enum KafkaAnswer {
    Exists(Topic),
    Absent,
    Refused(RDKafkaErrorCode),
}

impl Directory {
    pub(super) fn new(
        client: BaseConsumer<Context>,
        epochs: Epochs,
        config: TopicsConfig,
        condition: Condition,
        shared: Arc<TopicsState>,
    ) -> Self {
        let refresh_at = Instant::now();
        Self { client, epochs, config, condition, shared, refresh_at, answered_at: None, outage: None }
    }

    /// Serves lookups until `is_over`.
    pub(super) fn run(mut self, is_over: impl Fn() -> bool) -> Result<(), std::convert::Infallible> {
        while !is_over() {
            let pause = self.refresh_at.saturating_duration_since(Instant::now()).min(LOG_POLL);
            let waiting = self.shared.queue.take(pause);
            let refresh = Instant::now() >= self.refresh_at;
            if refresh || !waiting.is_empty() {
                self.round(waiting, refresh);
            }
            self.poll();
        }
        self.shared.queue.close();
        Ok(())
    }

    /// Writes librdkafka's log. Errors are events here too, and the context has logged them.
    fn poll(&self) {
        while self.client.poll(Duration::ZERO).is_some() {}
    }

    fn round(&mut self, mut waiting: PendingLookups, refresh: bool) {
        let mut names: HashSet<TopicName> = waiting.keys().cloned().collect();
        if refresh {
            self.refresh_at = Instant::now() + jittered(self.config.refresh);
            let cache = self.shared.cache.read().unwrap_or_else(PoisonError::into_inner);
            names.extend(cache.names().cloned());
        }
        self.shared.rounds.inc();
        let (sent_at, began) = (Instant::now(), SystemTime::now());
        match self.ask_kafka(&names) {
            Ok(answers) => {
                let request = Request { sent_at, answered_at: Instant::now() };
                for (name, answer) in answers {
                    let answer = self.learn(&name, answer, request);
                    send(waiting.remove(&name), &answer);
                }
                self.answered_at = Some(request.answered_at);
                self.outage = None;
                self.condition.ready();
            }
            Err(code) => {
                self.shared.rounds_failed.inc();
                self.refresh_at = Instant::now() + jittered(RETRY);
                // librdkafka logs why a connection failed, so the reason is known only after a
                // poll.
                self.poll();
                self.report_outage(began, code);
                for (topic, callers) in waiting {
                    send(
                        Some(callers),
                        &Err(LookupError::Unavailable { topic, reason: LookupFailure::Kafka(code) }),
                    );
                }
            }
        }
    }

    /// Sends one request for all topics. Blocks for at most `answer_within`.
    fn ask_kafka(
        &self,
        names: &HashSet<TopicName>,
    ) -> Result<Vec<(TopicName, KafkaAnswer)>, RDKafkaErrorCode> {
        match self.epochs {
            Epochs::Kafka => self.ask_for_descriptions(names),
            Epochs::InProcess(epoch) => self.ask_for_metadata(names, epoch),
        }
    }

    fn ask_for_descriptions(
        &self,
        names: &HashSet<TopicName>,
    ) -> Result<Vec<(TopicName, KafkaAnswer)>, RDKafkaErrorCode> {
        let asked: Vec<&str> =
            if names.is_empty() { vec![PROBE] } else { names.iter().map(TopicName::as_str).collect() };
        let descriptions =
            tailcast_topic_id::describe_topics(self.client.client(), &asked, self.config.answer_within)
                .map_err(|error| error.code())?;
        let answer = |described: TopicAnswer| {
            let name = names.get(TopicName::parse(&described.topic).ok().as_ref()?)?.clone();
            let answer = match described.description {
                Ok(description) => KafkaAnswer::Exists(Topic {
                    name: name.clone(),
                    epoch: Epoch::from_bits(description.id.most, description.id.least),
                    partitions: description.partitions,
                }),
                Err(error) if error.is_unknown() => KafkaAnswer::Absent,
                Err(error) => KafkaAnswer::Refused(error.code),
            };
            Some((name, answer))
        };
        Ok(descriptions.into_iter().filter_map(answer).collect())
    }

    /// The in-process broker does not describe topics; it lists them all, which are few.
    fn ask_for_metadata(
        &self,
        names: &HashSet<TopicName>,
        epoch: Epoch,
    ) -> Result<Vec<(TopicName, KafkaAnswer)>, RDKafkaErrorCode> {
        let metadata = self
            .client
            .fetch_metadata(None, self.config.answer_within)
            .map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))?;
        let answer = |name: &TopicName| {
            let topic = metadata.topics().iter().find(|topic| topic.name() == name.as_str());
            let partitions = topic.and_then(|topic| u32::try_from(topic.partitions().len()).ok());
            let answer = match partitions {
                Some(partitions) if partitions > 0 => {
                    KafkaAnswer::Exists(Topic { name: name.clone(), epoch, partitions })
                }
                _ => KafkaAnswer::Absent,
            };
            (name.clone(), answer)
        };
        Ok(names.iter().map(answer).collect())
    }

    fn learn(&mut self, name: &TopicName, answer: KafkaAnswer, request: Request) -> LookupResult {
        let mut cache = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner);
        let (effect, answer) = match answer {
            KafkaAnswer::Exists(topic) => (cache.exists(topic.clone()), Ok(topic)),
            KafkaAnswer::Absent => {
                (cache.absent(name, request), Err(LookupError::Unknown { topic: name.clone() }))
            }
            KafkaAnswer::Refused(code) => (
                Effect::None,
                Err(LookupError::Unavailable { topic: name.clone(), reason: LookupFailure::Refused(code) }),
            ),
        };
        self.shared.known.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
        drop(cache);
        match effect {
            Effect::None => {}
            // The refresh includes every known topic, and so this one.
            Effect::Unconfirmed { retry_at } => self.refresh_at = self.refresh_at.min(retry_at),
            Effect::Changed(change) => {
                tracing::info!(?change, "topic changed");
                // There may be no receiver.
                let _receivers = self.shared.changes.send(change);
            }
        }
        answer
    }

    /// Reports that a request sent at `began` has failed.
    fn report_outage(&mut self, began: SystemTime, code: RDKafkaErrorCode) {
        let since = self.outage.as_ref().map_or(began, |outage| outage.since);
        let failure = self.client.context().last_failure();
        if self.outage.as_ref().is_none_or(|outage| !outage.has_address && failure.is_some()) {
            let reason = outage_reason(since, failure.as_ref(), code);
            self.outage = Some(Outage { since, reason, has_address: failure.is_some() });
        }
        let reason = self.outage.as_ref().map(|outage| outage.reason.clone()).unwrap_or_default();
        let patience = self.config.refresh.saturating_mul(FAILED_REFRESHES_MAX);
        match self.answered_at {
            Some(answered) if answered.elapsed() < patience => self.condition.degraded(reason),
            Some(_) | None => self.condition.not_ready(reason),
        }
    }
}

/// The reason to report for an outage: its beginning, and the broker and its error if known.
fn outage_reason(since: SystemTime, failure: Option<&BrokerFailure>, code: RDKafkaErrorCode) -> String {
    let since = humantime::format_rfc3339_seconds(since);
    match failure {
        Some(BrokerFailure { address, error }) => {
            format!("Kafka has not answered since {since}: {address}: {error} ({code})")
        }
        None => format!("Kafka has not answered since {since} ({code})"),
    }
}

fn send(callers: Option<Vec<tokio::sync::oneshot::Sender<LookupResult>>>, answer: &LookupResult) {
    for caller in callers.into_iter().flatten() {
        // A caller that gave up has dropped its receiver.
        let _gone = caller.send(answer.clone());
    }
}

/// Varies a pause by ± 10 %, so that nodes started together do not keep sending requests together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}
