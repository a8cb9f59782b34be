//! The configuration of the push service: section `[push]`.
//!
//! The defaults and the reasons for them stand in `default.toml`; here is what a value means.

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
    /// Where WebSocket clients connect.
    #[serde(deserialize_with = "tailcast_services::config::address")]
    pub listen: SocketAddr,
    /// Whether an address other than loopback may be listened on without authentication.
    pub insecure: bool,
    /// The origins of pages that may connect beside those of this server's own: `https://shop.example`,
    /// `https://*.shop.example` for one label in front of it, or `*` for all. Requests without an `Origin` do not come from a
    /// page and are not restricted.
    pub origins: Origins,
    /// The node's name, as clients see it for support. Empty: the host's name.
    pub node: String,
    /// How much memory the process may have and still take sessions in, in bytes. Above it upgrades are answered 503, and clients
    /// between upgrade and `Connect` are closed with 4529. 0: 85 % of its cgroup's limit or of the machine's memory.
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
    /// Sections `[push.topic.NAME]`. Which topics there are is not ours to say, so there is no default to lay them over.
    pub topic: Option<TopicSettingsMap>,
    /// Section `[push.drain]`.
    pub drain: DrainConfig,
    /// Section `[push.topics]`.
    pub topics: TopicsConfig,
}

/// Why a configuration cannot be used, although each of its values is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Everybody could connect, and nobody said that this is meant.
    #[error(
        "push.listen is {listen}, which other machines can reach, and there is no authentication: listen on a loopback \
         address, or set push.insecure = true if everybody who reaches this address may read every topic"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// A bound leaves no room for what it bounds.
    #[error("push.{key} is {value}; it has to be at least {least}: {reason}")]
    Below {
        /// The key, within `[push]`.
        key: &'static str,
        /// What it is.
        value: usize,
        /// The least that it may be.
        least: usize,
        /// Why.
        reason: &'static str,
    },
    /// Clients would wait for longer than anybody means.
    #[error("push.{key} is {} ms; it has to be at most {} ms: {reason}", .value.as_millis(), .most.as_millis())]
    Above {
        /// The key, within `[push]`.
        key: &'static str,
        /// What it is.
        value: Duration,
        /// The most that it may be.
        most: Duration,
        /// Why.
        reason: &'static str,
    },
    /// With 0 no client could be served.
    #[error("push.{key} is 0; it has to be more")]
    Zero {
        /// The key, within `[push]`.
        key: &'static str,
    },
}

/// The size of a full page of catch-up, in bytes.
const PAGE_BYTES: usize = 256 * 1024;
/// The longest pause of fan-out. Sessions are put off by the millisecond, and a slot is kept for each.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Config {
    /// Rejects values that are valid each, but with which no client could be served.
    ///
    /// # Errors
    ///
    /// The first of [`mistakes`](Self::mistakes).
    pub fn check(&self) -> Result<(), ConfigError> {
        self.mistakes().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns every mistake beyond the types of the values: an open address without `insecure`, values that must not be 0,
    /// and bounds that leave no room for what they bound.
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
            let reason = "so long a client hears nothing under load";
            mistakes.push(ConfigError::Above { key: "fan_out.pause_max", value, most: PAUSE_MAX, reason });
        }
        mistakes.extend(self.narrow_bounds());
        mistakes
    }

    /// Returns the bounds that leave no room for what they bound. A bound of 0 is reported as such.
    fn narrow_bounds(&self) -> impl Iterator<Item = ConfigError> {
        let (sessions, rate) = (&self.sessions, self.catch_up.bytes_per_second_max);
        let bounds = [
            (
                "sessions.waiting_bytes_max",
                sessions.waiting_bytes_max,
                sessions.batch_bytes_max,
                "a full message (push.sessions.batch_bytes_max) has to be able to wait",
            ),
            (
                "sessions.send_buffer_bytes",
                sessions.send_buffer_bytes,
                sessions.unsent_bytes_max,
                "what is unsent (push.sessions.unsent_bytes_max) is a part of it",
            ),
            (
                "catch_up.bytes_per_second_max",
                if rate == 0 { usize::MAX } else { usize::try_from(rate).unwrap_or(usize::MAX) },
                PAGE_BYTES,
                "below a page a second nobody catches up; 0 is no bound",
            ),
        ];
        let narrow = bounds.into_iter().filter(|(_, value, least, _)| *value > 0 && value < least);
        narrow.map(|(key, value, least, reason)| ConfigError::Below { key, value, least, reason })
    }

    /// Returns the node's name: `node`, or the host's name.
    #[must_use]
    pub fn node_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "push".to_owned(), |name| name.trim().to_owned())
    }

    /// Keeps the last values of a topic, unless it is configured whether to.
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

/// What sessions may do, and how they are kept alive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// The most sessions of the node. At the bound an upgrade is answered 503 with `Retry-After`.
    pub count_max: usize,
    /// The most connections that have not become sessions yet. At the bound the listener accepts no more.
    pub handshakes_max: usize,
    /// The most subscriptions of one session.
    pub subscriptions_max: usize,
    /// The most partitions that the subscriptions of one session may span together.
    pub cursors_max: usize,
    /// The largest message that a client may send, in bytes. Above it the session is closed with 1009.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub message_bytes_max: usize,
    /// At this size a WebSocket message to a client is full, in bytes. A single larger record is sent alone.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub batch_bytes_max: usize,
    /// The most bytes of replies that wait for a client that does not read. At the bound nothing more is read from it.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub replies_bytes_max: usize,
    /// How far a lossless subscription may be behind its partition, in offsets, once it was live. Beyond, its session is closed
    /// with 4508. 0: as far as Kafka goes back.
    pub lag_records_max: u64,
    /// What may wait for sockets that take nothing, of all sessions together, in bytes. Beyond, messages get small, and those
    /// sessions are closed with 4508 whose sockets have taken nothing for longest, if that is long.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub waiting_bytes_max: usize,
    /// The kernel's send buffer of a connection, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub send_buffer_bytes: usize,
    /// What the kernel may hold of a connection and not have sent yet, in bytes. At the bound it takes no more.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub unsent_bytes_max: usize,
    /// From the upgrade to `Connect`. Then the session is closed with 4408.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Between pings, with a jitter of a tenth; earlier with a heartbeat, when the next one would come after the ping.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// From a ping to its pong, or to anything else that the client sends. Then the session is closed with 4510.
    #[serde(with = "humantime_serde")]
    pub pong_deadline: Duration,
    /// Between heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// How long the client may take nothing while something waits. Then the session is closed with 4508.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
}

/// Writing to clients what is new.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanOutConfig {
    /// How many threads write. 0: one for each core.
    pub threads: usize,
    /// How long what comes for a client may be held back, under load, after something was sent to it: then it goes out in one
    /// message. 0: never.
    #[serde(with = "humantime_serde")]
    pub pause_max: Duration,
}

/// The recent records that are kept in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsConfig {
    /// What all windows and channel logs may hold together, in bytes. At the bound the largest window sheds its oldest
    /// records.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
    /// How long a partition is tailed after its last subscription left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

/// Reading from Kafka what has left the windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatchUpConfig {
    /// How many partitions are read at the same time, a thread each.
    pub readers: usize,
    /// How fast pages are read, by all readers together, in bytes of records per second. 0: as fast as Kafka gives them.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_per_second_max: u64,
    /// What pages may hold while they wait to be taken, in bytes. At the bound the oldest are dropped, and read again if
    /// somebody still wants them.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub pages_bytes_max: usize,
}

/// The latest value of each key, of the topics that have `last_values = true`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastValuesConfig {
    /// What those of all topics may take together, in bytes: keys, values, headers, and 256 for each. The topic that takes
    /// more loses them until the process starts again, and snapshots of it are refused.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
}

/// How sessions are asked to leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    /// Over how long the clients' reconnects are spread.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The part of the command's defaults that is ours.
    #[derive(Deserialize)]
    struct Defaults {
        push: Config,
    }

    /// Returns what a node is started with when nobody sets anything.
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
        // `bind` and the command each had this rule of their own, and this check had not.
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
        // A year was a slot for each of its milliseconds: 757 GB at the first session that was put off.
        check(|c| c.fan_out.pause_max = PAUSE_MAX, Ok(()));
        let year = Duration::from_hours(24 * 365);
        check(
            |c| c.fan_out.pause_max = year,
            Err("push.fan_out.pause_max is 31536000000 ms; it has to be at most 1000 ms"),
        );
    }
}
