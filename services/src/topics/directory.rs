//! The thread that asks Kafka which topics exist.
//!
//! Waits at the desk, asks, tells those who waited, publishes what changed, and says through its condition whether Kafka
//! answers. Ends when it is no longer needed.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;
use tailcast_proto::{Epoch, TopicName};
use tailcast_topic_id::Answer as Described;

use super::cache::{Effect, Question};
use super::desk::{Answer, Waiting};
use super::{Epochs, LookupError, Obstacle, Shared, Topic, TopicsConfig};
use crate::kafka::{BrokerFailure, Context};
use crate::readiness::Condition;

/// Maximum wait for callers between two looks at librdkafka's log, which only a poll of the client writes.
const TICK: Duration = Duration::from_millis(100);
/// The pause before Kafka is asked again after it did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Refreshes that may fail before the node should no longer get traffic.
const SILENT_REFRESHES_MAX: u32 = 3;
/// Asked about when there is nobody else to ask about. Every Kafka has an answer to this name.
const PROBE: &str = "__consumer_offsets";

/// The thread's state.
pub(super) struct Directory {
    client: BaseConsumer<Context>,
    epochs: Epochs,
    config: TopicsConfig,
    condition: Condition,
    shared: Arc<Shared>,
    refresh_at: Instant,
    answered_at: Option<Instant>,
    silence: Option<Silence>,
}

/// Kafka's silence, from the first question that it did not answer.
struct Silence {
    since: SystemTime,
    /// What is reported. It stays until more is known, so that it is not logged again with each question.
    reason: String,
    has_address: bool,
}

/// Kafka's answer about one topic.
enum Said {
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
        shared: Arc<Shared>,
    ) -> Self {
        let refresh_at = Instant::now();
        Self { client, epochs, config, condition, shared, refresh_at, answered_at: None, silence: None }
    }

    /// Asks Kafka until `is_over`.
    pub(super) fn run(mut self, is_over: impl Fn() -> bool) -> Result<(), std::convert::Infallible> {
        while !is_over() {
            let pause = self.refresh_at.saturating_duration_since(Instant::now()).min(TICK);
            let waiting = self.shared.desk.take(pause);
            let refresh = Instant::now() >= self.refresh_at;
            if refresh || !waiting.is_empty() {
                self.round(waiting, refresh);
            }
            // Serves librdkafka's log. Errors come here too, and the context has logged them.
            while self.client.poll(Duration::ZERO).is_some() {}
        }
        self.shared.desk.close();
        Ok(())
    }

    fn round(&mut self, mut waiting: Waiting, refresh: bool) {
        let mut names: HashSet<TopicName> = waiting.keys().cloned().collect();
        if refresh {
            self.refresh_at = Instant::now() + jittered(self.config.refresh);
            let cache = self.shared.cache.read().unwrap_or_else(PoisonError::into_inner);
            names.extend(cache.names().cloned());
        }
        self.shared.rounds.inc();
        let asked_at = Instant::now();
        match self.ask_kafka(&names) {
            Ok(said) => {
                let question = Question { asked_at, answered_at: Instant::now() };
                for (name, said) in said {
                    let answer = self.learn(&name, said, question);
                    tell(waiting.remove(&name), &answer);
                }
                self.answered_at = Some(question.answered_at);
                self.silence = None;
                self.condition.ready();
            }
            Err(code) => {
                self.shared.rounds_failed.inc();
                self.refresh_at = Instant::now() + jittered(RETRY);
                self.say_silent(code);
                for (topic, callers) in waiting {
                    tell(
                        Some(callers),
                        &Err(LookupError::Unavailable { topic, reason: Obstacle::Kafka(code) }),
                    );
                }
            }
        }
    }

    /// One question about all of them. Blocks for `answer_within` at most.
    fn ask_kafka(&self, names: &HashSet<TopicName>) -> Result<Vec<(TopicName, Said)>, RDKafkaErrorCode> {
        match self.epochs {
            Epochs::Kafka => self.ask_for_descriptions(names),
            Epochs::InProcess(epoch) => self.ask_for_metadata(names, epoch),
        }
    }

    fn ask_for_descriptions(
        &self,
        names: &HashSet<TopicName>,
    ) -> Result<Vec<(TopicName, Said)>, RDKafkaErrorCode> {
        let asked: Vec<&str> =
            if names.is_empty() { vec![PROBE] } else { names.iter().map(TopicName::as_str).collect() };
        let descriptions =
            tailcast_topic_id::describe_topics(self.client.client(), &asked, self.config.answer_within)
                .map_err(|error| error.code())?;
        let said = |described: Described| {
            let name = names.get(TopicName::parse(&described.topic).ok().as_ref()?)?.clone();
            let said = match described.description {
                Ok(description) => Said::Exists(Topic {
                    name: name.clone(),
                    epoch: Epoch::from_bits(description.id.most, description.id.least),
                    partitions: description.partitions,
                }),
                Err(error) if error.is_unknown() => Said::Absent,
                Err(error) => Said::Refused(error.code),
            };
            Some((name, said))
        };
        Ok(descriptions.into_iter().filter_map(said).collect())
    }

    /// The in-process broker does not describe topics; it lists them all, which are few.
    fn ask_for_metadata(
        &self,
        names: &HashSet<TopicName>,
        epoch: Epoch,
    ) -> Result<Vec<(TopicName, Said)>, RDKafkaErrorCode> {
        let metadata = self
            .client
            .fetch_metadata(None, self.config.answer_within)
            .map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))?;
        let said = |name: &TopicName| {
            let topic = metadata.topics().iter().find(|topic| topic.name() == name.as_str());
            let partitions = topic.and_then(|topic| u32::try_from(topic.partitions().len()).ok());
            let said = match partitions {
                Some(partitions) if partitions > 0 => {
                    Said::Exists(Topic { name: name.clone(), epoch, partitions })
                }
                _ => Said::Absent,
            };
            (name.clone(), said)
        };
        Ok(names.iter().map(said).collect())
    }

    fn learn(&mut self, name: &TopicName, said: Said, question: Question) -> Answer {
        let mut cache = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner);
        let (effect, answer) = match said {
            Said::Exists(topic) => (cache.exists(topic.clone()), Ok(topic)),
            Said::Absent => (cache.absent(name, question), Err(LookupError::Unknown { topic: name.clone() })),
            Said::Refused(code) => (
                Effect::None,
                Err(LookupError::Unavailable { topic: name.clone(), reason: Obstacle::Refused(code) }),
            ),
        };
        self.shared.known.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
        drop(cache);
        match effect {
            Effect::None => {}
            // The refresh asks about every known topic, and so about this one.
            Effect::Doubtful { ask_at } => self.refresh_at = self.refresh_at.min(ask_at),
            Effect::Changed(change) => {
                tracing::info!(?change, "topic changed");
                // Nobody may be listening.
                let _receivers = self.shared.changes.send(change);
            }
        }
        answer
    }

    fn say_silent(&mut self, code: RDKafkaErrorCode) {
        let since = self.silence.as_ref().map_or_else(SystemTime::now, |silence| silence.since);
        let failure = self.client.context().last_failure();
        if self.silence.as_ref().is_none_or(|silence| !silence.has_address && failure.is_some()) {
            let reason = silent(since, failure.as_ref(), code);
            self.silence = Some(Silence { since, reason, has_address: failure.is_some() });
        }
        let reason = self.silence.as_ref().map(|silence| silence.reason.clone()).unwrap_or_default();
        let patience = self.config.refresh.saturating_mul(SILENT_REFRESHES_MAX);
        match self.answered_at {
            Some(answered) if answered.elapsed() < patience => self.condition.degraded(reason),
            Some(_) | None => self.condition.not_ready(reason),
        }
    }
}

/// Reports that Kafka does not answer: since when, and the broker and error if they are known.
fn silent(since: SystemTime, failure: Option<&BrokerFailure>, code: RDKafkaErrorCode) -> String {
    let since = humantime::format_rfc3339_seconds(since);
    match failure {
        Some(BrokerFailure { address, error }) => {
            format!("Kafka has not answered since {since}: {address}: {error} ({code})")
        }
        None => format!("Kafka has not answered since {since} ({code})"),
    }
}

fn tell(callers: Option<Vec<tokio::sync::oneshot::Sender<Answer>>>, answer: &Answer) {
    for caller in callers.into_iter().flatten() {
        // A caller that gave up has dropped its end.
        let _gone = caller.send(answer.clone());
    }
}

/// Give or take a tenth, so that nodes started together do not ask together for ever.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}
