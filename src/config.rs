//! The configuration of every part, and the one file of defaults.
//!
//! Defaults are overridden by a file, then by the environment, then by flags, and the result is
//! parsed into [`Config`]. There are no defaults in code: [`DEFAULTS`] has all of them, and
//! documents them.

mod check;

mod flags;

mod layers;

mod shown;

use serde::Deserialize;
use tailcast_services::{admin, kafka, lifecycle, log};

pub use self::{
    check::CheckError,
    layers::{Layers, LoadError},
};
pub(crate) use self::{
    flags::{IngestFlags, NoFlags, Overrides, PushFlags},
    shown::Shown,
};

/// Every key with its default and its meaning.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The configuration of every part. Processes of different kinds can share a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Filter and format of the log.
    pub log: log::Config,
    /// The listener for probes and metrics.
    pub admin: admin::Config,
    /// The time limit of a drain.
    pub drain: lifecycle::Config,
    /// Kafka's brokers, and properties of librdkafka.
    pub kafka: kafka::Settings,
    /// The ingest service.
    pub ingest: tailcast_ingest::Config,
    /// The push service.
    pub push: tailcast_push::Config,
}

/// Returns the defaults, without a file, the environment or flags.
#[must_use]
pub fn defaults() -> Config {
    Layers::default().load().expect("a test parses the defaults")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_configuration() {
        let config =
            Layers::default().load().map_err(|error| error.to_string()).expect("every key has its default");
        assert!(config.admin.listen.ip().is_loopback(), "by default only this machine can connect");
        assert!(config.ingest.listen.ip().is_loopback());
        assert!(config.push.listen.ip().is_loopback());
    }

    #[test]
    fn every_default_has_a_comment() {
        let mut comment = false;
        for (number, line) in (1..).zip(DEFAULTS.lines()) {
            if line.contains('=') && !line.starts_with('#') {
                assert!(comment, "line {number} has no comment above it: {line}");
            }
            comment = line.starts_with('#');
        }
    }
}
