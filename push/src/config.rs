//! The configuration of the push service: section `[push]`.
//!
//! `default.toml` has the defaults and the reasons for them.

mod mistakes;
mod sections;

mod origins;
mod topic_settings;

use std::net::SocketAddr;

use serde::Deserialize;
use tailcast_proto::TopicName;
use tailcast_services::topics::TopicsConfig;

pub use self::{
    mistakes::ConfigError,
    origins::{OriginError, Origins},
    sections::{CatchUpConfig, DrainConfig, FanOutConfig, LastValuesConfig, SessionsConfig, WindowsConfig},
    topic_settings::{TopicKeyError, TopicSettings, TopicSettingsMap},
};

/// Section `[push]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address for WebSocket clients.
    #[serde(deserialize_with = "tailcast_services::config::address")]
    pub listen: SocketAddr,
    /// Allows listening on an address other than loopback without authentication.
    pub insecure: bool,
    /// Origins whose pages may connect, besides the server's own: `https://shop.example`,
    /// `https://*.shop.example` for one label in front of it, or `*` for all. Requests without an
    /// `Origin` do not come from a page and are not restricted.
    pub origins: Origins,
    /// Name of the node, shown to clients. Empty: the host name.
    pub node: String,
    /// Process memory above which new sessions are refused, in bytes: upgrades are answered with
    /// 503, and clients between upgrade and `Connect` are closed with 4529. 0: 85 % of the cgroup's
    /// limit or of the machine's memory.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub memory_bytes_max: u64,
    /// Section `[push.sessions]`.
    pub sessions: SessionsConfig,
    /// Section `[push.fan_out]`.
    pub fan_out: FanOutConfig,
    /// Section `[push.windows]`.
    pub windows: WindowsConfig,
    /// Section `[push.catch_up]`.
    pub catch_up: CatchUpConfig,
    /// Section `[push.last_values]`.
    pub last_values: LastValuesConfig,
    /// Sections `[push.topic.NAME]`. `None` if there are none; they have no defaults.
    pub topic: Option<TopicSettingsMap>,
    /// Section `[push.drain]`.
    pub drain: DrainConfig,
    /// Section `[push.topics]`.
    pub topics: TopicsConfig,
}

impl Config {
    /// Returns the node's name: `node`, or the host name.
    #[must_use]
    pub fn node_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "push".to_owned(), |name| name.trim().to_owned())
    }

    /// Keeps the last values of a topic, unless its configuration already says whether to.
    pub fn keep_last_values(&mut self, topic: TopicName) {
        let topics = &mut self.topic.get_or_insert_default().0;
        topics.entry(topic).or_insert(TopicSettings { last_values: true });
    }

    /// Returns the topics whose last values are kept.
    pub(crate) fn last_values_topics(&self) -> impl Iterator<Item = &TopicName> {
        let topics = self.topic.iter().flat_map(|topics| &topics.0);
        topics.filter(|(_, settings)| settings.last_values).map(|(topic, _)| topic)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The part of `default.toml` for this crate.
    #[derive(Deserialize)]
    struct Defaults {
        push: Config,
    }

    /// Returns the default configuration.
    pub(crate) fn defaults() -> Config {
        let defaults = include_str!("../../src/default.toml");
        let Defaults { push } = tailcast_services::config::load(defaults, None, [], &[]).expect("they parse");
        push
    }
}
