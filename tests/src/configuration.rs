//! The configuration of a scenario's nodes: the defaults of the command, with the settings of the
//! scenario.
//!
//! Every scenario is a test of `src/default.toml` therefore.

use serde::Deserialize;
use serde::de::IgnoredAny;
use tailcast_services::config::{self, FlagValue};
use tailcast_services::kafka::Settings;

/// The defaults of the command.
pub const DEFAULTS: &str = include_str!("../../src/default.toml");

/// The sections for nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `[ingest]`
    pub ingest: tailcast_ingest::Config,
    /// `[push]`
    pub push: tailcast_push::Config,
    /// Ignored: a scenario has its own Kafka.
    #[serde(rename = "kafka")]
    _kafka: Settings,
    /// Ignored: the test process has its own log.
    #[serde(rename = "log")]
    _log: IgnoredAny,
    /// Ignored: readiness and metrics are read directly.
    #[serde(rename = "admin")]
    _admin: IgnoredAny,
    /// Ignored: a scenario has its own deadlines.
    #[serde(rename = "drain")]
    _drain: IgnoredAny,
}

impl Configuration {
    /// Loads the defaults and sets keys, such as `push.windows.bytes_max`, to values in the form of
    /// flags.
    ///
    /// # Panics
    ///
    /// When a key or a value is invalid.
    pub fn with(values: &[(String, String)]) -> Self {
        let values: Vec<_> = values
            .iter()
            .map(|(key, value)| FlagValue { flag: "scenario", key: key.clone(), value: value.clone() })
            .collect();
        match config::load(DEFAULTS, None, std::iter::empty(), &values) {
            Ok(configuration) => configuration,
            Err(error) => panic!("{error}"),
        }
    }
}
