//! Rejects invalid combinations of values, before any socket is opened.

use std::time::Duration;

use tailcast_ingest as ingest;
use tailcast_push as push;
use tailcast_services::{
    kafka::{PropertyError, Role},
    log::LogError,
};

use super::Config;

/// Time that a process needs in addition to the drain of its parts: to send the last outcomes, and
/// to close.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// Why a configuration cannot be used, although each of its values is valid.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Invalid log settings.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Invalid Kafka settings.
    #[error(transparent)]
    Kafka(#[from] PropertyError),
    /// Invalid ingest settings.
    #[error(transparent)]
    Ingest(#[from] ingest::ConfigError),
    /// Invalid push settings.
    #[error(transparent)]
    Push(#[from] push::config::ConfigError),
    /// The process would be killed, with exit code 70, before one of its parts has drained.
    #[error(
        "drain.within is {within} and {key} is {value}; drain.within must be at least {least}, otherwise work in progress \
         is cut off",
        within = humantime::format_duration(*within),
        value = humantime::format_duration(*value),
        least = humantime::format_duration(*least),
    )]
    Drain {
        /// The key of the part's drain time.
        key: &'static str,
        /// Its value.
        value: Duration,
        /// The time limit of the process.
        within: Duration,
        /// The minimum of that limit.
        least: Duration,
    },
}

impl Config {
    /// Checks the settings that `tailcast ingest` uses.
    ///
    /// # Errors
    ///
    /// When a setting is invalid; only the first mistake is returned.
    pub fn check_ingest(&self) -> Result<(), CheckError> {
        let kafka = self.kafka.check(&[Role::Producer, Role::Directory]);
        self.log_mistakes()
            .chain(self.ingest_mistakes())
            .map(Err)
            .chain([kafka.map_err(Into::into)])
            .collect()
    }

    /// Checks the settings that `tailcast push` uses.
    ///
    /// # Errors
    ///
    /// When a setting is invalid; only the first mistake is returned.
    pub fn check_push(&self) -> Result<(), CheckError> {
        let kafka = self.kafka.check(&[Role::Tail, Role::Reader, Role::Directory]);
        self.log_mistakes().chain(self.push_mistakes()).map(Err).chain([kafka.map_err(Into::into)]).collect()
    }

    /// Returns every mistake, of all parts.
    #[must_use]
    pub fn mistakes(&self) -> Vec<CheckError> {
        let roles = [Role::Producer, Role::Tail, Role::Reader, Role::Directory];
        let kafka = self.kafka.check(&roles).err().map(CheckError::from);
        self.log_mistakes().chain(self.ingest_mistakes()).chain(self.push_mistakes()).chain(kafka).collect()
    }

    fn log_mistakes(&self) -> impl Iterator<Item = CheckError> {
        self.log.check().err().map(CheckError::from).into_iter()
    }

    fn ingest_mistakes(&self) -> impl Iterator<Item = CheckError> {
        let within = self.ingest.drain_within;
        let drain = self.check_drain("ingest.drain_within", within, within).err();
        self.ingest.mistakes().into_iter().map(CheckError::from).chain(drain)
    }

    fn push_mistakes(&self) -> impl Iterator<Item = CheckError> {
        let spread = self.push.drain.spread;
        // A client that has not left a tenth of the spread after its turn is closed.
        let drain = self.check_drain("push.drain.spread", spread, spread.saturating_add(spread / 10)).err();
        self.push.mistakes().into_iter().map(CheckError::from).chain(drain)
    }

    /// Checks that a part which drains for `takes`, because of `key`, has finished before the time
    /// limit of the process.
    fn check_drain(&self, key: &'static str, value: Duration, takes: Duration) -> Result<(), CheckError> {
        let (within, least) = (self.drain.within, takes.saturating_add(DRAIN_MARGIN));
        if within < least { Err(CheckError::Drain { key, value, within, least }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tailcast_services::config::FlagValue;

    use crate::config::{Layers, defaults};

    #[track_caller]
    fn check(key: &str, value: &str, expected: &str) {
        let flag = FlagValue { flag: "--set", key: key.to_owned(), value: value.to_owned() };
        let layers = Layers { flags: vec![flag], ..Layers::default() };
        let config = layers.load().map_err(|error| error.to_string()).expect("the value has the right type");
        let found =
            config.check_ingest().and_then(|()| config.check_push()).map_err(|error| error.to_string());
        let found = found.expect_err("the setting is invalid");
        assert!(found.contains(expected), "{key} = {value}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_defaults_can_be_used() {
        defaults().check_ingest().expect("ingest starts with the defaults");
        defaults().check_push().expect("push starts with the defaults");
    }

    #[test]
    fn an_invalid_setting_is_refused_with_its_key() {
        check("ingest.listen", "0.0.0.0:9090", "ingest.insecure = true");
        check("push.listen", "0.0.0.0:8080", "push.insecure = true");
        check("push.sessions.count_max", "0", "push.sessions.count_max is 0");
        check("push.sessions.waiting_bytes_max", "100", "push.sessions.waiting_bytes_max is 100");
        check("push.sessions.unsent_bytes_max", "99999999", "push.sessions.send_buffer_bytes is 65536");
        check("push.catch_up.bytes_per_second_max", "1", "push.catch_up.bytes_per_second_max is 1");
        check("ingest.arrival_deadline", "0s", "ingest.arrival_deadline is 0");
        check("ingest.preface_deadline", "0s", "ingest.preface_deadline is 0");
        check("kafka.properties.acks", "1", "\"acks\" cannot be set");
        check("kafka.properties.no.such", "1", "\"no.such\"");
        check("kafka.brokers", "", "kafka.brokers");
        // These two were only found when a service started, the second with the exit code of an
        // internal error.
        check("log.filter", "tailcast=loud", "log.filter");
        check("kafka.properties.security.protocol", "sasl_ssl", "kafka.properties");
    }

    #[test]
    fn every_mistake_is_returned() {
        let mut config = defaults();
        config.push.listen.set_ip([0, 0, 0, 0].into());
        config.push.sessions.count_max = 0;
        config.push.sessions.waiting_bytes_max = 100;
        config.ingest.streams_max = 0;
        config.log.filter = "tailcast=loud".to_owned();
        config.drain.within = Duration::from_secs(1);
        config.kafka.brokers.clear();
        let mistakes: Vec<String> = config.mistakes().iter().map(ToString::to_string).collect();
        let parts = [
            "log.filter",
            "ingest.streams_max is 0",
            "ingest.drain_within is 15s",
            "push.insecure = true",
            "push.sessions.count_max is 0",
            "push.sessions.waiting_bytes_max is 100",
            "push.drain.spread is 10s",
            "kafka.brokers",
        ];
        assert_eq!(mistakes.len(), parts.len(), "{mistakes:#?}");
        for (mistake, part) in mistakes.iter().zip(parts) {
            assert!(mistake.contains(part), "expected {part:?}, found {mistake:?}");
        }
    }

    #[test]
    fn a_process_has_time_to_drain_its_parts() {
        // These settings were not compared: a process with a shorter limit than its parts was
        // killed while it drained.
        check("ingest.drain_within", "24s", "drain.within is 25s and ingest.drain_within is 24s");
        check("push.drain.spread", "21s", "drain.within is 25s and push.drain.spread is 21s");
        check("drain.within", "16999ms", "drain.within must be at least 17s");
        let mut config = defaults();
        config.drain.within = Duration::from_secs(17);
        config.check_ingest().expect("15 s and the margin fit");
        config.drain.within = Duration::from_secs(13);
        config.check_push().expect("10 s, a tenth of it and the margin fit");
    }
}
