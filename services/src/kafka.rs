//! Settings for Kafka: the brokers, and every librdkafka property that is set, with its reason.
//!
//! Operators set librdkafka's properties under librdkafka's names in `[kafka.properties]`. Most of
//! Tailcast's values are presets that can be changed there. The few that a promise depends on are
//! owned: setting them is an error that states the reason. [`properties`] is the one table of both;
//! documentation and `config show` are made from it.
//!
//! Invariant: values that are or may be secrets are never printed. `Debug`, errors and
//! [`Settings::shown`] have [`REDACTED`] in their place.

mod broker_failure;
mod check;
mod context;
mod line_limit;
mod names;
mod property;
mod secrets;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::Deserialize;

pub use broker_failure::BrokerFailure;
pub use context::{ClientLog, Context};
pub use property::{Property, Role, Standing, properties};
pub use secrets::{REDACTED, is_secret_at};

/// Section `[kafka]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bootstrap brokers, as `HOST:PORT`.
    pub brokers: Vec<String>,
    /// Properties passed to librdkafka under its own names.
    pub properties: BTreeMap<String, String>,
}

/// A mistake in the Kafka settings.
#[derive(Debug, thiserror::Error)]
pub enum PropertyError {
    /// No broker is configured.
    #[error("kafka.brokers is empty (expected: [\"HOST:PORT\"])")]
    NoBrokers,
    /// An element of `kafka.brokers` is not an address.
    #[error("kafka.brokers: {broker:?}: expected HOST:PORT")]
    Broker {
        /// The element found.
        broker: String,
    },
    /// A promise depends on this property.
    #[error("kafka.properties: {name:?} cannot be set: {reason}")]
    Owned {
        /// The property, as written.
        name: String,
        /// The promise that would break.
        reason: &'static str,
    },
    /// The same property under two of its names, or an alias beside it.
    #[error("kafka.properties: {name:?} is an alias of {canonical:?}, which is also set; remove one of them")]
    Twice {
        /// The property, as written.
        name: String,
        /// librdkafka's preferred name.
        canonical: String,
    },
    /// librdkafka does not know the property, or rejects the value.
    #[error("kafka.properties: {name:?} = {value:?}: {reason}")]
    Refused {
        /// The property.
        name: String,
        /// Its value, redacted unless it is known to be harmless.
        value: String,
        /// librdkafka's error.
        reason: String,
    },
    /// Each property is valid, but their combination is not.
    #[error("kafka.properties: librdkafka cannot create the {role} client: {source}")]
    Together {
        /// The role of the client.
        role: Role,
        /// librdkafka's error.
        source: KafkaError,
    },
}

impl Settings {
    /// Settings with these brokers (`HOST:PORT`, comma-separated) and no other property.
    pub fn at(brokers: &str) -> Self {
        Self {
            brokers: brokers.split(',').map(|broker| broker.trim().to_owned()).collect(),
            properties: BTreeMap::new(),
        }
    }

    /// For the producer of `ingest`: acknowledged records are durable, and keys have the same
    /// partitions as with Java.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn producer(&self) -> Result<ClientConfig, PropertyError> {
        self.client(Role::Producer)
    }

    /// For the consumer that tails partitions as they grow, with low latency and without a group.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn tail(&self) -> Result<ClientConfig, PropertyError> {
        self.client(Role::Tail)
    }

    /// For consumers that read a range of old records and stop.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn reader(&self) -> Result<ClientConfig, PropertyError> {
        self.client(Role::Reader)
    }

    /// For the client that queries metadata of topics. It never reads a record.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn directory(&self) -> Result<ClientConfig, PropertyError> {
        self.client(Role::Directory)
    }

    /// The properties for display: values that may be secrets are redacted.
    pub fn shown(&self) -> BTreeMap<&str, &str> {
        self.properties.iter().map(|(name, value)| (name.as_str(), secrets::shown(name, value))).collect()
    }

    fn client(&self, role: Role) -> Result<ClientConfig, PropertyError> {
        self.check_brokers()?;
        let mut config = ClientConfig::new();
        for property in properties().iter().filter(|property| property.roles.contains(&role)) {
            if let Some(value) = property.value {
                config.set(property.name, value);
            }
        }
        let mut seen = HashSet::new();
        for (name, value) in &self.properties {
            let canonical = names::canonical(name);
            if let Some(reason) = property::owned(canonical) {
                return Err(PropertyError::Owned { name: name.clone(), reason });
            }
            if !seen.insert(canonical) {
                return Err(PropertyError::Twice { name: name.clone(), canonical: canonical.to_owned() });
            }
            if role.has(canonical) {
                config.set(canonical, value);
            }
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        // Lets librdkafka itself check every name and value.
        config.create_native_config().map_err(refused)?;
        Ok(config)
    }

    fn check_brokers(&self) -> Result<(), PropertyError> {
        if self.brokers.is_empty() {
            return Err(PropertyError::NoBrokers);
        }
        let wrong = |broker: &&String| {
            broker.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        };
        match self.brokers.iter().find(wrong) {
            Some(broker) => Err(PropertyError::Broker { broker: broker.clone() }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("brokers", &self.brokers).field("properties", &self.shown()).finish()
    }
}

fn refused(error: KafkaError) -> PropertyError {
    match error {
        KafkaError::ClientConfig(refusal, sentence, name, value) => {
            let value = secrets::shown(&name, &value).to_owned();
            let reason = secrets::complaint(&name, refusal, sentence);
            PropertyError::Refused { name, value, reason }
        }
        other => PropertyError::Refused {
            name: "kafka.properties".to_owned(),
            value: String::new(),
            reason: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
