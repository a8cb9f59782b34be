//! What is checked before any socket is opened, beyond the type of each value.

use tailcast_ingest as ingest;
use tailcast_push as push;
use tailcast_services::kafka::PropertyError;

use super::Config;

/// Why a configuration cannot be used, although each of its values is valid.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Kafka's settings cannot be used.
    #[error(transparent)]
    Kafka(#[from] PropertyError),
    /// Ingest cannot use it.
    #[error(transparent)]
    Ingest(#[from] ingest::ConfigError),
    /// Push cannot use it.
    #[error(transparent)]
    Push(#[from] push::config::ConfigError),
}

impl Config {
    /// Checks what `tailcast ingest` needs.
    ///
    /// # Errors
    ///
    /// See [`CheckError`].
    pub fn check_ingest(&self) -> Result<(), CheckError> {
        self.ingest.check()?;
        self.kafka.producer()?;
        self.kafka.directory()?;
        Ok(())
    }

    /// Checks what `tailcast push` needs.
    ///
    /// # Errors
    ///
    /// See [`CheckError`].
    pub fn check_push(&self) -> Result<(), CheckError> {
        self.push.check()?;
        self.kafka.tail()?;
        self.kafka.reader()?;
        self.kafka.directory()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tailcast_services::config::FlagValue;

    use crate::config::{Layers, defaults};

    #[track_caller]
    fn check(key: &str, value: &str, expected: &str) {
        let flag = FlagValue { flag: "--set", key: key.to_owned(), value: value.to_owned() };
        let layers = Layers { flags: vec![flag], ..Layers::default() };
        let config = layers.load().map_err(|error| error.to_string()).expect("the value has the right type");
        let found =
            config.check_ingest().and_then(|()| config.check_push()).map_err(|error| error.to_string());
        let found = found.expect_err("it cannot be used");
        assert!(found.contains(expected), "{key} = {value}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_defaults_can_be_used() {
        defaults().check_ingest().expect("ingest starts with the defaults");
        defaults().check_push().expect("push starts with the defaults");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_key() {
        check("ingest.listen", "0.0.0.0:9090", "ingest.insecure = true");
        check("push.listen", "0.0.0.0:8080", "push.insecure = true");
        check("push.sessions.count_max", "0", "push.sessions.count_max is 0");
        check("kafka.properties.acks", "1", "\"acks\" belongs to Tailcast");
        check("kafka.properties.no.such", "1", "\"no.such\"");
        check("kafka.brokers", "", "kafka.brokers");
    }
}
