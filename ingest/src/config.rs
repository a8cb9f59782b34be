//! What can be configured about the way in.
//!
//! There are no defaults in the code: `src/default.toml` of the command has every key with its unit and reason. What one
//! key alone cannot tell (a request that could never fit the bound, an open address without authentication) is
//! checked before any socket is opened.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tailcast_services::topics::TopicsConfig;

use crate::{budget::Cost, trace::Propagator, validation::MessageLimits};

/// The `[ingest]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where gRPC is served.
    #[serde(deserialize_with = "tailcast_services::config::address")]
    pub listen: SocketAddr,
    /// Whether an address that other machines reach may be served without authentication.
    pub insecure: bool,
    /// Whether gRPC reflection is served, for tools that have no `.proto` files.
    pub reflection: bool,
    /// How many bytes of messages may wait for Kafka's answer, over all callers.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub in_flight_bytes_max: usize,
    /// How many messages may wait for Kafka's answer, over all callers.
    pub in_flight_messages_max: usize,
    /// The largest message, in bytes: key, value and headers together.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub message_bytes_max: usize,
    /// How many headers a message may have.
    pub message_headers_max: usize,
    /// The largest request, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub request_bytes_max: usize,
    /// How long a unary call without a deadline of its own waits.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How many messages of one stream may wait for their acknowledgement.
    pub stream_credits: u32,
    /// How many publish streams are served at a time.
    pub streams_max: usize,
    /// How many requests may be arriving at a time; it bounds the memory of half-read ones.
    pub arriving_max: usize,
    /// How long a request may take to arrive, from its headers to its last byte.
    #[serde(with = "humantime_serde")]
    pub arrival_deadline: Duration,
    /// How many connections are open at a time; one more is closed at once.
    pub connections_max: usize,
    /// How long a connection may take to say that it speaks HTTP/2.
    #[serde(with = "humantime_serde")]
    pub preface_deadline: Duration,
    /// How many calls one connection may have open (HTTP/2's `SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub connection_calls_max: u32,
    /// How often an idle connection is asked whether it is alive (HTTP/2 PING).
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long the answer to that may take before the connection is closed.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// How long calls may go on waiting for Kafka once the process drains; then what is left ends refused or unknown.
    #[serde(with = "humantime_serde")]
    pub drain_within: Duration,
    /// How topics are looked up.
    pub topics: TopicsConfig,
}

/// Why a configuration cannot be used, although each of its values is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Anybody who reaches the address could publish.
    #[error(
        "ingest.listen is {listen}, which other machines can reach, and there is no authentication: listen on a \
         loopback address, or set ingest.insecure = true if the network in front keeps strangers out"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// A bound is too small for what another one allows.
    #[error("{key} is {value}, and has to be at least {least} because {reason}")]
    Below {
        /// The key.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The least value that works.
        least: usize,
        /// Why.
        reason: &'static str,
    },
}

impl Config {
    /// Rejects values that are valid each, but with which no caller could be served.
    ///
    /// # Errors
    ///
    /// The first of [`mistakes`](Self::mistakes).
    pub fn check(&self) -> Result<(), ConfigError> {
        self.mistakes().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns every mistake beyond the types of the values: an open address without `insecure`, and bounds so small that a
    /// valid request could never be served.
    #[must_use]
    pub fn mistakes(&self) -> Vec<ConfigError> {
        let is_open = !self.listen.ip().is_loopback() && !self.insecure;
        let open = is_open.then_some(ConfigError::Open { listen: self.listen });
        let batch = MessageLimits::BATCH_MAX;
        // What a request of the largest size costs at most: its call's trace goes into each of its records.
        let beside = batch * (Cost::PER_MESSAGE_BYTES + Propagator::RECORD_BYTES_MAX);
        let request = self.request_bytes_max.saturating_add(beside);
        let bounds = [
            ("ingest.message_bytes_max", self.message_bytes_max, 1, "a message has bytes"),
            (
                "ingest.request_bytes_max",
                self.request_bytes_max,
                self.message_bytes_max,
                "a request has to hold the largest message (ingest.message_bytes_max)",
            ),
            (
                "ingest.in_flight_bytes_max",
                self.in_flight_bytes_max,
                request.saturating_mul(4),
                "the largest request (ingest.request_bytes_max, and 256 bytes and the headers of a trace per message) has \
                 to fit the quarter that is kept for unary calls",
            ),
            (
                "ingest.in_flight_messages_max",
                self.in_flight_messages_max,
                batch * 4,
                "a batch of 500 has to fit the quarter that is kept for unary calls",
            ),
            (
                "ingest.stream_credits",
                usize::try_from(self.stream_credits).unwrap_or(usize::MAX),
                batch,
                "a request of a stream may have 500 messages",
            ),
            ("ingest.streams_max", self.streams_max, 1, "0 would refuse every stream"),
            ("ingest.arriving_max", self.arriving_max, 1, "0 would refuse every call"),
            ("ingest.connections_max", self.connections_max, 1, "0 would refuse every connection"),
            (
                "ingest.arrival_deadline",
                millis(self.arrival_deadline),
                1,
                "with 0 ms no request could arrive",
            ),
            (
                "ingest.preface_deadline",
                millis(self.preface_deadline),
                1,
                "with 0 ms no connection could begin",
            ),
        ];
        let narrow = bounds.into_iter().filter(|&(_, value, least, _)| value < least);
        let narrow =
            narrow.map(|(key, value, least, reason)| ConfigError::Below { key, value, least, reason });
        open.into_iter().chain(narrow).collect()
    }

    /// What a message may be.
    pub(crate) fn limits(&self) -> MessageLimits {
        MessageLimits { message_bytes_max: self.message_bytes_max, headers_max: self.message_headers_max }
    }

    /// How much may be in flight.
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

    /// The part of the command's defaults that is ours.
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
    fn bounds_that_no_request_could_fit_are_refused() {
        check(|c| c.message_bytes_max = c.request_bytes_max + 1, Err("ingest.request_bytes_max is"));
        check(|c| c.in_flight_bytes_max = 4 * c.request_bytes_max, Err("ingest.in_flight_bytes_max is"));
        let fits = |c: &Config| 4 * (c.request_bytes_max + 500 * (256 + Propagator::RECORD_BYTES_MAX));
        check(|c| c.in_flight_bytes_max = fits(c), Ok(()));
        check(|c| c.in_flight_bytes_max = fits(c) - 1, Err("the headers of a trace"));
        check(|c| c.in_flight_messages_max = 1_999, Err("at least 2000"));
        check(|c| c.stream_credits = 499, Err("at least 500"));
        check(|c| c.streams_max = 0, Err("0 would refuse every stream"));
    }
}
