//! Checks combinations of properties by creating and dropping clients: only librdkafka's
//! constructor validates them.
//!
//! The clients have no broker, so that checking a configuration opens no socket, and they log
//! nothing.

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{PropertyError, Role, Settings};

/// A client context that drops all log lines.
struct NoLog;

impl Settings {
    /// Creates and drops a client for each of `roles`. Opens no connection; takes milliseconds.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn check(&self, roles: &[Role]) -> Result<(), PropertyError> {
        for &role in roles {
            let mut config = self.client(role)?;
            // Without a group id, the consumer has no group to leave when it is dropped.
            config.remove("bootstrap.servers").remove("group.id");
            made(role, &config).map_err(|source| PropertyError::Together { role, source })?;
        }
        Ok(())
    }
}

fn made(role: Role, config: &ClientConfig) -> Result<(), KafkaError> {
    match role {
        Role::Producer => BaseProducer::from_config_and_context(config, NoLog).map(drop),
        Role::Tail | Role::Reader | Role::Directory => {
            BaseConsumer::from_config_and_context(config, NoLog).map(drop)
        }
    }
}

impl ClientContext for NoLog {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for NoLog {}

impl ProducerContext for NoLog {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
