//! The configuration of ingest.
//!
//! The code has no defaults: the command's `src/default.toml` has every key with its unit and
//! reason. Combinations of values (a request that exceeds the in-flight limit, an open address
//! without authentication) are checked before any socket is opened.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tailcast_services::topics::TopicsConfig;

use crate::{budget::Cost, trace::Propagator, validation::MessageLimits};

/// The `[ingest]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address of the gRPC listener.
    #[serde(deserialize_with = "tailcast_services::config::address")]
    pub listen: SocketAddr,
    /// Whether to serve an address that other machines can reach without authentication.
    pub insecure: bool,
    /// Whether to serve gRPC reflection, for tools without the `.proto` files.
    pub reflection: bool,
    /// The maximum size of messages in flight to Kafka, over all callers, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub in_flight_bytes_max: usize,
    /// The maximum number of messages in flight to Kafka, over all callers.
    pub in_flight_messages_max: usize,
    /// The maximum size of a message, in bytes: key, value and headers together.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub message_bytes_max: usize,
    /// The maximum number of headers of a message.
    pub message_headers_max: usize,
    /// The maximum size of a request, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub request_bytes_max: usize,
    /// The deadline of unary calls whose callers set none.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// The maximum number of unacknowledged messages of a stream.
    pub stream_credits: u32,
    /// The maximum number of open publish streams.
    pub streams_max: usize,
    /// The maximum number of requests of which only a part has arrived; it bounds their memory.
    pub arriving_max: usize,
    /// The maximum time from the headers of a request to its last byte.
    #[serde(with = "humantime_serde")]
    pub arrival_deadline: Duration,
    /// The maximum number of open connections; further ones are closed at once.
    pub connections_max: usize,
    /// The maximum time until a connection has sent the HTTP/2 preface.
    #[serde(with = "humantime_serde")]
    pub preface_deadline: Duration,
    /// The maximum number of open calls of a connection (HTTP/2's
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub connection_calls_max: u32,
    /// The interval of HTTP/2 PINGs on idle connections.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// The maximum time until a PING is answered; then the connection is closed.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// The maximum time that calls wait for Kafka while the process drains. The remaining messages
    /// then end refused or unknown.
    #[serde(with = "humantime_serde")]
    pub drain_within: Duration,
    /// The lookup of topics.
    pub topics: TopicsConfig,
}

/// An invalid combination of valid values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Everybody who can reach the address could publish.
    #[error(
        "ingest.listen is {listen}: other machines can reach it, and there is no authentication; listen on a loopback \
         address, or set ingest.insecure = true if a firewall or proxy restricts access"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// A limit is too small for another one.
    #[error("{key} is {value}: must be at least {least}, because {reason}")]
    Below {
        /// The key.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The minimum.
        least: usize,
        /// The reason for the minimum.
        reason: &'static str,
    },
}

impl Config {
    /// Rejects invalid combinations of values.
    ///
    /// # Errors
    ///
    /// The first of [`mistakes`](Self::mistakes).
    pub fn check(&self) -> Result<(), ConfigError> {
        self.mistakes().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns every invalid combination of values: an open address without `insecure`, and limits
    /// too small for a valid request.
    #[must_use]
    pub fn mistakes(&self) -> Vec<ConfigError> {
        let is_open = !self.listen.ip().is_loopback() && !self.insecure;
        let open = is_open.then_some(ConfigError::Open { listen: self.listen });
        let batch = MessageLimits::BATCH_MAX;
        // The maximum cost of a request: the trace context of its call is added to each message.
        let beside = batch * (Cost::PER_MESSAGE_BYTES + Propagator::RECORD_BYTES_MAX);
        let request = self.request_bytes_max.saturating_add(beside);
        let bounds = [
            ("ingest.message_bytes_max", self.message_bytes_max, 1, "0 would reject every message"),
            (
                "ingest.request_bytes_max",
                self.request_bytes_max,
                self.message_bytes_max,
                "a request must have room for the largest message (ingest.message_bytes_max)",
            ),
            (
                "ingest.in_flight_bytes_max",
                self.in_flight_bytes_max,
                request.saturating_mul(4),
                "the largest request (ingest.request_bytes_max, plus 256 bytes and the trace headers for each message) must \
                 fit into the quarter reserved for unary calls",
            ),
            (
                "ingest.in_flight_messages_max",
                self.in_flight_messages_max,
                batch * 4,
                "a batch of 500 messages must fit into the quarter reserved for unary calls",
            ),
            (
                "ingest.stream_credits",
                usize::try_from(self.stream_credits).unwrap_or(usize::MAX),
                batch,
                "a request on a stream may have 500 messages",
            ),
            ("ingest.streams_max", self.streams_max, 1, "0 would reject every stream"),
            ("ingest.arriving_max", self.arriving_max, 1, "0 would reject every call"),
            ("ingest.connections_max", self.connections_max, 1, "0 would reject every connection"),
            ("ingest.arrival_deadline", millis(self.arrival_deadline), 1, "every request would time out"),
            ("ingest.preface_deadline", millis(self.preface_deadline), 1, "every connection would time out"),
        ];
        let narrow = bounds.into_iter().filter(|&(_, value, least, _)| value < least);
        let narrow =
            narrow.map(|(key, value, least, reason)| ConfigError::Below { key, value, least, reason });
        open.into_iter().chain(narrow).collect()
    }

    /// The limits of a message.
    pub(crate) fn limits(&self) -> MessageLimits {
        MessageLimits { message_bytes_max: self.message_bytes_max, headers_max: self.message_headers_max }
    }

    /// The limit of messages and bytes in flight.
    pub(crate) fn in_flight_max(&self) -> Cost {
        Cost { messages: self.in_flight_messages_max, bytes: self.in_flight_bytes_max }
    }
}

fn millis(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests, on a free port.
    pub(crate) fn config() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            insecure: false,
            reflection: true,
            in_flight_bytes_max: 16 << 20,
            in_flight_messages_max: 4_000,
            message_bytes_max: 1_000_000,
            message_headers_max: 64,
            request_bytes_max: 2 << 20,
            deadline: Duration::from_secs(20),
            stream_credits: 1_000,
            streams_max: 16,
            arriving_max: 64,
            arrival_deadline: Duration::from_secs(10),
            connections_max: 64,
            preface_deadline: Duration::from_secs(5),
            connection_calls_max: 128,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            drain_within: Duration::from_secs(5),
            topics: TopicsConfig {
                refresh: Duration::from_secs(10),
                unknown_for: Duration::from_millis(200),
                answer_within: Duration::from_secs(2),
            },
        }
    }

    /// The section `[ingest]` of the command's defaults.
    #[derive(Deserialize)]
    struct Defaults {
        ingest: Config,
    }

    #[test]
    fn the_defaults_can_be_used() {
        let defaults = include_str!("../../src/default.toml");
        let Defaults { ingest } =
            tailcast_services::config::load(defaults, None, [], &[]).expect("they parse");
        assert_eq!(ingest.check(), Ok(()));
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: Result<(), &str>) {
        let mut config = config();
        change(&mut config);
        let found = config.check().map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) if found.contains(expected) => {}
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn an_open_address_needs_insecure() {
        let open: SocketAddr = "0.0.0.0:9090".parse().expect("an address");
        check(|c| c.listen = open, Err("set ingest.insecure = true"));
        check(
            |c| {
                c.listen = open;
                c.insecure = true;
            },
            Ok(()),
        );
        check(|c| c.listen = "[::1]:9090".parse().expect("an address"), Ok(()));
    }

    #[test]
    fn limits_too_small_for_a_request_are_rejected() {
        check(|c| c.message_bytes_max = c.request_bytes_max + 1, Err("ingest.request_bytes_max is"));
        check(|c| c.in_flight_bytes_max = 4 * c.request_bytes_max, Err("ingest.in_flight_bytes_max is"));
        let fits = |c: &Config| 4 * (c.request_bytes_max + 500 * (256 + Propagator::RECORD_BYTES_MAX));
        check(|c| c.in_flight_bytes_max = fits(c), Ok(()));
        check(|c| c.in_flight_bytes_max = fits(c) - 1, Err("the trace headers"));
        check(|c| c.in_flight_messages_max = 1_999, Err("at least 2000"));
        check(|c| c.stream_credits = 499, Err("at least 500"));
        check(|c| c.streams_max = 0, Err("0 would reject every stream"));
    }
}
