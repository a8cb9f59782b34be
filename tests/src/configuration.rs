//! The configuration of a scenario's nodes: the command's own defaults, and what the scenario sets.
//!
//! Using `src/default.toml` as it is makes every scenario a test of the defaults.

use serde::Deserialize;
use serde::de::IgnoredAny;
use tailcast_services::config::{self, FlagValue};
use tailcast_services::kafka::Settings;

/// What `tailcast` starts with when nobody sets anything.
pub const DEFAULTS: &str = include_str!("../../src/default.toml");

/// The sections that nodes are started with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `[ingest]`
    pub ingest: tailcast_ingest::Config,
    /// `[push]`
    pub push: tailcast_push::Config,
    /// A scenario brings its own Kafka.
    #[serde(rename = "kafka")]
    _kafka: Settings,
    /// A test process keeps its own log.
    #[serde(rename = "log")]
    _log: IgnoredAny,
    /// Nodes of a scenario have no admin listener: their readiness and metrics are at hand.
    #[serde(rename = "admin")]
    _admin: IgnoredAny,
    /// A scenario says how long it waits.
    #[serde(rename = "drain")]
    _drain: IgnoredAny,
}

impl Configuration {
    /// Loads the defaults and sets keys, such as `push.window_bytes_max`, to values as flags have them.
    ///
    /// # Panics
    ///
    /// When a key or a value is wrong.
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
