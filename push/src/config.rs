//! The configuration of the push service: section `[push]`.
//!
//! `default.toml` has the defaults and the reasons for them.

mod topic_settings;

mod origins;

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tailcast_proto::TopicName;
use tailcast_services::topics::TopicsConfig;

pub use self::{
    origins::{OriginError, Origins},
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

/// Why a configuration cannot be used although each of its values is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address is reachable by other machines, and `insecure` is not set.
    #[error(
        "push.listen is {listen}, which other machines can reach, and there is no authentication: listen on a loopback \
         address, or set push.insecure = true if everybody who reaches this address may read every topic"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// A value is below its minimum, which another value may determine.
    #[error("push.{key} is {value}; must be at least {least}: {reason}")]
    Below {
        /// The key, within `[push]`.
        key: &'static str,
        /// The value.
        value: usize,
        /// The minimum.
        least: usize,
        /// The reason for the minimum.
        reason: &'static str,
    },
    /// A value exceeds its maximum.
    #[error("push.{key} is {} ms; must be at most {} ms: {reason}", .value.as_millis(), .most.as_millis())]
    Above {
        /// The key, within `[push]`.
        key: &'static str,
        /// The value.
        value: Duration,
        /// The maximum.
        most: Duration,
        /// The reason for the maximum.
        reason: &'static str,
    },
    /// The value must not be 0.
    #[error("push.{key} is 0; must be greater")]
    Zero {
        /// The key, within `[push]`.
        key: &'static str,
    },
}

/// Size of a full catch-up page, in bytes.
const PAGE_BYTES: usize = 256 * 1024;
/// Maximum pause of the fan-out. Delayed sessions are kept in a slot for each millisecond.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Config {
    /// Rejects invalid combinations of values.
    ///
    /// # Errors
    ///
    /// The first of [`mistakes`](Self::mistakes).
    pub fn check(&self) -> Result<(), ConfigError> {
        self.mistakes().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns all mistakes that types do not exclude: a public address without `insecure`, values
    /// that must not be 0, and limits that are too low for what they limit.
    #[must_use]
    pub fn mistakes(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        if !self.listen.ip().is_loopback() && !self.insecure {
            mistakes.push(ConfigError::Open { listen: self.listen });
        }
        let sessions = &self.sessions;
        let zero = [
            ("sessions.count_max", sessions.count_max == 0),
            ("sessions.handshakes_max", sessions.handshakes_max == 0),
            ("sessions.subscriptions_max", sessions.subscriptions_max == 0),
            ("sessions.cursors_max", sessions.cursors_max == 0),
            ("sessions.message_bytes_max", sessions.message_bytes_max == 0),
            ("sessions.batch_bytes_max", sessions.batch_bytes_max == 0),
            ("sessions.replies_bytes_max", sessions.replies_bytes_max == 0),
            ("sessions.waiting_bytes_max", sessions.waiting_bytes_max == 0),
            ("sessions.send_buffer_bytes", sessions.send_buffer_bytes == 0),
            ("sessions.unsent_bytes_max", sessions.unsent_bytes_max == 0),
            ("sessions.connect_deadline", sessions.connect_deadline.is_zero()),
            ("sessions.ping_interval", sessions.ping_interval.is_zero()),
            ("sessions.pong_deadline", sessions.pong_deadline.is_zero()),
            ("sessions.heartbeat_interval", sessions.heartbeat_interval.is_zero()),
            ("sessions.write_deadline", sessions.write_deadline.is_zero()),
            ("catch_up.readers", self.catch_up.readers == 0),
            ("last_values.bytes_max", self.last_values.bytes_max == 0),
        ];
        let zero = zero.into_iter().filter(|(_, is_zero)| *is_zero);
        mistakes.extend(zero.map(|(key, _)| ConfigError::Zero { key }));
        let value = self.fan_out.pause_max;
        if value > PAUSE_MAX {
            let reason = "clients get no records for this long under load";
            mistakes.push(ConfigError::Above { key: "fan_out.pause_max", value, most: PAUSE_MAX, reason });
        }
        mistakes.extend(self.narrow_bounds());
        mistakes
    }

    /// Returns the limits that are too low for what they limit. A limit of 0 is reported elsewhere.
    fn narrow_bounds(&self) -> impl Iterator<Item = ConfigError> {
        let (sessions, rate) = (&self.sessions, self.catch_up.bytes_per_second_max);
        let bounds = [
            (
                "sessions.waiting_bytes_max",
                sessions.waiting_bytes_max,
                sessions.batch_bytes_max,
                "the buffer has to fit a full message (push.sessions.batch_bytes_max)",
            ),
            (
                "sessions.send_buffer_bytes",
                sessions.send_buffer_bytes,
                sessions.unsent_bytes_max,
                "it includes the unsent bytes (push.sessions.unsent_bytes_max)",
            ),
            (
                "catch_up.bytes_per_second_max",
                if rate == 0 { usize::MAX } else { usize::try_from(rate).unwrap_or(usize::MAX) },
                PAGE_BYTES,
                "catching up needs at least one page per second; 0 for no limit",
            ),
        ];
        let narrow = bounds.into_iter().filter(|(_, value, least, _)| *value > 0 && value < least);
        narrow.map(|(key, value, least, reason)| ConfigError::Below { key, value, least, reason })
    }

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

/// Limits and timeouts of sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// Maximum number of sessions. At the limit, upgrades are answered with 503 and `Retry-After`.
    pub count_max: usize,
    /// Maximum number of connections that are not sessions yet. At the limit, the oldest one that
    /// has sent nothing is closed; if there is none, the listener stops accepting.
    pub handshakes_max: usize,
    /// Maximum number of subscriptions of a session.
    pub subscriptions_max: usize,
    /// Maximum number of partitions that the subscriptions of a session span in total.
    pub cursors_max: usize,
    /// Maximum size of a message from a client, in bytes. A larger one closes the session with
    /// 1009.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub message_bytes_max: usize,
    /// Size at which a WebSocket message to a client is full, in bytes. A larger record is sent
    /// alone.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub batch_bytes_max: usize,
    /// Maximum size of the replies that a client has not read, in bytes. At the limit, the node
    /// stops reading from the client.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub replies_bytes_max: usize,
    /// Maximum lag of a lossless subscription that was live, in offsets. Beyond it, the session is
    /// closed with 4508. 0: no limit but Kafka's retention.
    pub lag_records_max: u64,
    /// Maximum number of bytes buffered for blocked sockets, over all sessions. Near the limit,
    /// messages become small; beyond it, the sessions that have been blocked longest are closed
    /// with 4508, unless that is not long.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub waiting_bytes_max: usize,
    /// Send buffer of a connection in the kernel, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub send_buffer_bytes: usize,
    /// Maximum number of unsent bytes of a connection in the kernel. At the limit, the socket is
    /// blocked.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub unsent_bytes_max: usize,
    /// Timeout from the upgrade to `Connect`. Then the session is closed with 4408.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Interval between pings, with a jitter of 10 %. A ping is sent early, with a heartbeat, if
    /// the next heartbeat would come after it.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Timeout from a ping to its pong, or to any other data from the client. Then the session is
    /// closed with 4510.
    #[serde(with = "humantime_serde")]
    pub pong_deadline: Duration,
    /// Interval between heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Timeout of a blocked socket. Then the session is closed with 4508.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
}

/// Settings of the threads that write new records to clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanOutConfig {
    /// Number of threads. 0: one for each core.
    pub threads: usize,
    /// Maximum pause of a session after a write, under load. Records that arrive meanwhile are sent
    /// as one message. 0: no pause.
    #[serde(with = "humantime_serde")]
    pub pause_max: Duration,
}

/// Settings of the recent records kept in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsConfig {
    /// Maximum memory of all windows and channel logs, in bytes. At the limit, the largest window
    /// evicts its oldest records.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
    /// How long a partition is tailed after its last subscription has ended.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

/// Settings of reading records from Kafka that have left the windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatchUpConfig {
    /// Number of reader threads. Each reads one partition at a time.
    pub readers: usize,
    /// Maximum rate of all readers together, in bytes of records per second. 0: no limit.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_per_second_max: u64,
    /// Maximum memory of pages, in bytes. At the limit, the oldest are dropped, and read again if a
    /// cursor still needs them.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub pages_bytes_max: usize,
}

/// Settings of the latest value of each key, for topics with `last_values = true`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastValuesConfig {
    /// Maximum memory of the last values of all topics, in bytes: keys, values, headers, and 256
    /// for each. A topic that exceeds it loses its last values until the process restarts, and its
    /// snapshots are refused.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
}

/// Settings of draining.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    /// Period over which clients are asked to reconnect.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
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

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: Result<(), &str>) {
        let mut config = defaults();
        change(&mut config);
        let found = config.check().map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) if found.contains(expected) => {}
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_defaults_can_be_used() {
        check(|_| {}, Ok(()));
    }

    #[test]
    fn an_open_address_needs_insecure() {
        // `bind` and the command each had this rule, and this check did not.
        let open: SocketAddr = "0.0.0.0:8080".parse().expect("an address");
        check(|c| c.listen = open, Err("set push.insecure = true"));
        check(
            |c| {
                c.listen = open;
                c.insecure = true;
            },
            Ok(()),
        );
        check(|c| c.listen = "[::1]:8080".parse().expect("an address"), Ok(()));
    }

    #[test]
    fn a_bound_of_nothing_is_refused_with_its_key() {
        check(|c| c.sessions.count_max = 0, Err("push.sessions.count_max is 0"));
        check(|c| c.sessions.connect_deadline = Duration::ZERO, Err("push.sessions.connect_deadline is 0"));
        check(|c| c.last_values.bytes_max = 0, Err("push.last_values.bytes_max is 0"));
    }

    #[test]
    fn a_pause_of_fan_out_has_a_bound() {
        // A pause of one year made a slot for each of its milliseconds: 757 GB when the first
        // session was delayed.
        check(|c| c.fan_out.pause_max = PAUSE_MAX, Ok(()));
        let year = Duration::from_hours(24 * 365);
        check(
            |c| c.fan_out.pause_max = year,
            Err("push.fan_out.pause_max is 31536000000 ms; must be at most 1000 ms"),
        );
    }
}
