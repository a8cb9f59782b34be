//! Clients that are created and dropped: only librdkafka's constructor knows which properties fit together.
//!
//! They know no broker, so that checking a configuration opens no socket, and they log nothing.

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{PropertyError, Role, Settings};

/// Drops the log lines of such a client.
struct Silence;

impl Settings {
    /// Makes a client for each of `roles`, and ends it. Connects to nobody; takes milliseconds.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn check(&self, roles: &[Role]) -> Result<(), PropertyError> {
        for &role in roles {
            let mut config = self.client(role)?;
            // Without a group's name the consumer has nothing to leave when it ends.
            config.remove("bootstrap.servers").remove("group.id");
            made(role, &config).map_err(|source| PropertyError::Together { role, source })?;
        }
        Ok(())
    }
}

fn made(role: Role, config: &ClientConfig) -> Result<(), KafkaError> {
    match role {
        Role::Producer => BaseProducer::from_config_and_context(config, Silence).map(drop),
        Role::Tail | Role::Reader | Role::Directory => {
            BaseConsumer::from_config_and_context(config, Silence).map(drop)
        }
    }
}

impl ClientContext for Silence {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silence {}

impl ProducerContext for Silence {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
