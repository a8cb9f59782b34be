//! Creates the missing topics of `tailcast dev` in an external Kafka.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};
use tailcast_services::kafka::{PropertyError, Settings};

use super::Topic;

/// Timeout of the requests to Kafka.
const WITHIN: Duration = Duration::from_secs(10);

/// Retention of a created topic: short, because others may use the same Kafka.
const RETENTION_MS: &str = "3600000";

/// Kafka's notation for the brokers' default.
const REPLICATION: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// Why topics were not created.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicsError {
    /// The settings are invalid.
    #[error(transparent)]
    Settings(#[from] PropertyError),
    /// Kafka did not answer.
    #[error("no answer from Kafka at {brokers}")]
    Unreachable {
        /// Its brokers.
        brokers: String,
        /// The cause.
        source: KafkaError,
    },
    /// Kafka refused to create a topic.
    #[error("Kafka refused to create the topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// The cause.
        code: RDKafkaErrorCode,
    },
}

/// Creates the topics that do not exist. Existing topics are not changed.
pub(super) async fn create_missing(kafka: &Settings, topics: &[Topic]) -> Result<(), TopicsError> {
    let unreachable = |source| TopicsError::Unreachable { brokers: kafka.brokers.join(","), source };
    let client =
        AdminClient::<DefaultClientContext>::from_config(&kafka.directory()?).map_err(unreachable)?;
    let topics: Vec<_> = topics.iter().map(new_topic).collect();
    let options = AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN));
    for created in client.create_topics(&topics, &options).await.map_err(unreachable)? {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
        }
    }
    Ok(())
}

fn new_topic(topic: &Topic) -> NewTopic<'_> {
    NewTopic::new(topic.name.as_str(), i32::from(topic.partitions), REPLICATION)
        .set("retention.ms", RETENTION_MS)
}
