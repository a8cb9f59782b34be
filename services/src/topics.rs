//! Which topics exist, with their epochs and partition counts.
//!
//! One thread per [`Topics`] asks Kafka: about the topics it knows every [`TopicsConfig::refresh`], about others when
//! somebody looks them up. Callers share an answer: all lookups that wait go out as one request.
//!
//! What is known stays known while Kafka is silent, so that traffic on known topics goes on. Before Kafka has answered for
//! the first time the condition is not ready; after that, silence degrades it, and makes it not ready only when it lasts.
//!
//! Invariants: a topic is in the cache only if Kafka said that it exists. An answer that a known topic is gone is believed
//! when it comes again to a question asked some time after it, because a broker that has just started may not know it yet.

mod cache;
mod desk;
mod directory;

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
use desk::Desk;
use directory::Directory;

/// Changes that a slow receiver may be behind; beyond that it is told that it missed some, and looks again.
const CHANGES_MAX: usize = 256;

/// How topics are asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// How often Kafka is asked about the topics that are known, give or take a tenth.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    /// How long an answer "no such topic" is believed: what a topic that was just created waits at most.
    #[serde(with = "humantime_serde")]
    pub unknown_for: Duration,
    /// How long Kafka may take to answer.
    #[serde(with = "humantime_serde")]
    pub answer_within: Duration,
}

/// Where a topic's epoch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// Kafka's topic ids.
    Kafka,
    /// The in-process broker, which has no topic ids and forgets everything when it ends: one epoch for all topics.
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
    /// How many partitions it has; at least 1.
    pub partitions: u32,
}

/// What happened to a topic that somebody had looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// It is gone.
    Deleted {
        /// As it was.
        topic: Topic,
    },
    /// It was deleted and created again: offsets of the old one mean nothing in the new one.
    Recreated {
        /// As it was.
        old: Topic,
        /// As it is.
        new: Topic,
    },
    /// It has more partitions. The new ones begin at offset 0, and keys may have moved to them.
    Grown {
        /// As it was.
        from: Topic,
        /// As it is.
        to: Topic,
    },
}

/// Why a topic could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Kafka has no topic of this name. It may be created later: asking again after `unknown_for` is right.
    #[error("topic {topic} does not exist")]
    Unknown {
        /// The name.
        topic: TopicName,
    },
    /// It is not known whether the topic exists.
    #[error("topic {topic} cannot be looked up: {reason}")]
    Unavailable {
        /// The name.
        topic: TopicName,
        /// What stood in the way.
        reason: Obstacle,
    },
}

/// What stands between a lookup and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// No broker answered in time, or the request failed as a whole.
    #[error("Kafka does not answer ({0})")]
    Kafka(RDKafkaErrorCode),
    /// Kafka refuses to tell about this topic, usually for want of the `Describe` permission.
    #[error("Kafka refused to describe it ({0})")]
    Refused(RDKafkaErrorCode),
    /// Too many other topics wait for their first answer.
    #[error("too many pending lookups")]
    Busy,
    /// The process drains: topics that are not known yet are no longer asked for.
    #[error("this node is draining")]
    Draining,
}

/// Why topics cannot be looked up at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// librdkafka refused the configuration.
    #[error("cannot create the Kafka client for topic metadata: {0}")]
    Client(#[from] KafkaError),
    /// The operating system refused the thread.
    #[error("cannot start the thread for topic metadata: {0}")]
    Thread(#[from] std::io::Error),
}

/// A cheap handle to what is known of topics.
#[derive(Clone, Debug)]
pub struct Topics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cache: RwLock<Cache>,
    desk: Desk,
    changes: broadcast::Sender<TopicChange>,
    known: Gauge,
    rounds: ShardedCounter,
    rounds_failed: ShardedCounter,
}

impl Topics {
    /// Starts to ask, until the process drains. Does not wait for Kafka: `condition` becomes ready with its first answer.
    ///
    /// `config` is that of [`Settings::directory`](crate::kafka::Settings::directory). `registry` has to carry the prefix
    /// of the part that asks, such as `tailcast_push`, since each part of a process has topics of its own.
    /// Asks until the process has come to the phase `until`: [`Phase::Closing`] for a part that serves on while it drains.
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
        let shared = Arc::new(Shared {
            cache: RwLock::new(Cache::new(topics.unknown_for)),
            desk: Desk::default(),
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

    /// What is known of a topic, without asking.
    pub fn cached(&self, topic: &TopicName) -> Option<Topic> {
        self.read().known(topic)
    }

    /// Looks a topic up: from what is known, else by asking Kafka. Cancel safe.
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

    /// Asks Kafka whatever is known, with a request that is sent after this call: what it says was so at some moment
    /// after the call. Cancel safe.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn ask(&self, topic: &TopicName) -> Result<Topic, LookupError> {
        let unavailable = |reason| LookupError::Unavailable { topic: topic.clone(), reason };
        let answer = self.shared.desk.ask(topic).map_err(unavailable)?;
        // The directory drops what it will not answer: it does so only when it ends.
        answer.await.unwrap_or_else(|_| Err(unavailable(Obstacle::Draining)))
    }

    /// Follows what happens to the topics that were looked up. A receiver that lags has to look at [`cached`](Self::cached)
    /// again for each topic it cares for.
    pub fn changes(&self) -> broadcast::Receiver<TopicChange> {
        self.shared.changes.subscribe()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Cache> {
        self.shared.cache.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn register(&self, registry: &mut Registry) {
        registry.register("topics_known", "Topics whose metadata is refreshed", self.known.clone());
        registry.register("topics_requests", "Metadata requests to Kafka", self.rounds.clone());
        let help = "Metadata requests to Kafka that failed";
        registry.register("topics_requests_failed", help, self.rounds_failed.clone());
    }
}

#[cfg(test)]
mod tests;
