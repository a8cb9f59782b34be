//! Metadata of topics: existence, epoch and number of partitions.
//!
//! One thread per [`Topics`] queries Kafka: for known topics every [`TopicsConfig::refresh`], for
//! others when they are looked up. All pending lookups are sent as one request.
//!
//! Known topics stay known while Kafka does not answer, so that traffic on them continues. Until
//! Kafka's first answer, the condition is not ready. Later, an outage degrades it, and makes it not
//! ready only if the outage lasts.
//!
//! Invariants: the cache has only topics that exist in Kafka. If Kafka answers that a known topic
//! does not exist, a later request must confirm it, because a broker that has just started may not
//! know the topic yet.

mod cache;
mod directory;
mod lookup_queue;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use serde::Deserialize;
use tailcast_proto::{Epoch, TopicName};
use tokio::sync::broadcast;

use crate::kafka::Context;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::ShardedCounter;
use crate::readiness::Condition;
use cache::Cache;
use directory::Directory;
use lookup_queue::LookupQueue;

/// Changes buffered for a slow receiver; if it lags further, it is notified and must check the
/// topics again.
const CHANGES_MAX: usize = 256;

/// The lookup of topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// The interval at which known topics are refreshed, ± 10 %.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    /// The time for which an unknown topic is remembered: the maximum delay until a new topic is
    /// found.
    #[serde(with = "humantime_serde")]
    pub unknown_for: Duration,
    /// The timeout of a request to Kafka.
    #[serde(with = "humantime_serde")]
    pub answer_within: Duration,
}

/// The source of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// Kafka's topic ids.
    Kafka,
    /// One epoch for all topics: the in-process broker has no topic ids, and its topics end with
    /// it.
    InProcess(Epoch),
}

impl Epochs {
    /// Returns whether the brokers find offsets by time. The in-process broker does not.
    #[must_use]
    pub fn have_time_index(self) -> bool {
        matches!(self, Self::Kafka)
    }
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its incarnation.
    pub epoch: Epoch,
    /// The number of partitions; at least 1.
    pub partitions: u32,
}

/// A change of a known topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// It was deleted.
    Deleted {
        /// The topic before the change.
        topic: Topic,
    },
    /// It was deleted and created again: offsets of the old topic are invalid in the new one.
    Recreated {
        /// The topic before the change.
        old: Topic,
        /// The topic after the change.
        new: Topic,
    },
    /// Partitions were added. They begin at offset 0, and keys may have moved to them.
    Grown {
        /// The topic before the change.
        from: Topic,
        /// The topic after the change.
        to: Topic,
    },
}

/// Why a topic could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The topic does not exist. It may be created later; retry after `unknown_for`.
    #[error("topic {topic} does not exist")]
    Unknown {
        /// The name.
        topic: TopicName,
    },
    /// The lookup failed: it is not known whether the topic exists.
    #[error("topic {topic} cannot be looked up: {reason}")]
    Unavailable {
        /// The name.
        topic: TopicName,
        /// The reason.
        reason: LookupFailure,
    },
}

/// Why a lookup failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupFailure {
    /// No broker answered in time, or the request failed as a whole.
    #[error("Kafka does not answer ({0})")]
    Kafka(RDKafkaErrorCode),
    /// Kafka refused to describe the topic, usually because the `Describe` permission is missing.
    #[error("Kafka refused to describe it ({0})")]
    Refused(RDKafkaErrorCode),
    /// Too many lookups of other topics are pending.
    #[error("too many pending lookups")]
    Busy,
    /// The process drains: unknown topics are no longer looked up.
    #[error("this node is draining")]
    Draining,
}

/// Why the lookup of topics cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// librdkafka refused the configuration.
    #[error("cannot create the Kafka client for topic metadata: {0}")]
    Client(#[from] KafkaError),
    /// The operating system refused the thread.
    #[error("cannot start the thread for topic metadata: {0}")]
    Thread(#[from] std::io::Error),
}

/// A cheap handle to the metadata of topics.
#[derive(Clone, Debug)]
pub struct Topics {
    shared: Arc<TopicsState>,
}

#[derive(Debug)]
struct TopicsState {
    cache: RwLock<Cache>,
    queue: LookupQueue,
    changes: broadcast::Sender<TopicChange>,
    known: Gauge,
    rounds: ShardedCounter,
    rounds_failed: ShardedCounter,
}

impl Topics {
    /// Starts the thread. Does not wait for Kafka: `condition` becomes ready with Kafka's first
    /// answer.
    ///
    /// `config` is that of [`Settings::directory`](crate::kafka::Settings::directory). `registry`
    /// must have the prefix of the part, such as `tailcast_push`, since each part of a process has
    /// its own topics. The thread ends when the process reaches the phase `until`:
    /// [`Phase::Closing`] for a part that serves clients while it drains.
    ///
    /// # Errors
    /// See [`StartError`].
    #[expect(clippy::needless_pass_by_value, reason = "the configuration is made for this one client")]
    pub fn start(
        lifecycle: &Lifecycle,
        until: Phase,
        config: ClientConfig,
        epochs: Epochs,
        topics: TopicsConfig,
        condition: Condition,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let client: BaseConsumer<Context> = config.create_with_context(Context::new("topics"))?;
        let shared = Arc::new(TopicsState {
            cache: RwLock::new(Cache::new(topics.unknown_for)),
            queue: LookupQueue::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            known: Gauge::default(),
            rounds: ShardedCounter::default(),
            rounds_failed: ShardedCounter::default(),
        });
        shared.register(registry);
        let handle = Self { shared: Arc::clone(&shared) };
        let directory = Directory::new(client, epochs, topics, condition, shared);
        let phases = lifecycle.clone();
        lifecycle.supervise_thread("topics", move || directory.run(|| phases.has_reached(until)))?;
        Ok(handle)
    }

    /// Returns a known topic, without a request.
    pub fn cached(&self, topic: &TopicName) -> Option<Topic> {
        self.read().known(topic)
    }

    /// Looks up a topic in the cache, or in Kafka if it is not known. Cancel safe.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn lookup(&self, topic: &TopicName) -> Result<Topic, LookupError> {
        {
            let cache = self.read();
            if let Some(known) = cache.known(topic) {
                return Ok(known);
            }
            if cache.is_unknown(topic, Instant::now()) {
                return Err(LookupError::Unknown { topic: topic.clone() });
            }
        }
        self.ask(topic).await
    }

    /// Looks up a topic in Kafka, even if it is known. The request is sent after this call, so the
    /// answer is not older than the call. Cancel safe.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn ask(&self, topic: &TopicName) -> Result<Topic, LookupError> {
        let unavailable = |reason| LookupError::Unavailable { topic: topic.clone(), reason };
        let answer = self.shared.queue.ask(topic).map_err(unavailable)?;
        // The directory drops a lookup without an answer only when it ends.
        answer.await.unwrap_or_else(|_| Err(unavailable(LookupFailure::Draining)))
    }

    /// Returns a receiver of changes of known topics. A receiver that lags must check
    /// [`cached`](Self::cached) again for each of its topics.
    pub fn changes(&self) -> broadcast::Receiver<TopicChange> {
        self.shared.changes.subscribe()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Cache> {
        self.shared.cache.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicsState {
    fn register(&self, registry: &mut Registry) {
        registry.register("topics_known", "Topics whose metadata is refreshed", self.known.clone());
        registry.register("topics_requests", "Metadata requests to Kafka", self.rounds.clone());
        let help = "Metadata requests to Kafka that failed";
        registry.register("topics_requests_failed", help, self.rounds_failed.clone());
    }
}

#[cfg(test)]
mod tests;
