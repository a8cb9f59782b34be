//! Mistakes in a configuration beyond the types of its values.

use std::{net::SocketAddr, time::Duration};

use super::Config;

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
}

#[cfg(test)]
mod tests {
    use super::{super::tests::defaults, *};

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
    fn a_limit_of_zero_is_refused_with_its_key() {
        check(|c| c.sessions.count_max = 0, Err("push.sessions.count_max is 0"));
        check(|c| c.sessions.connect_deadline = Duration::ZERO, Err("push.sessions.connect_deadline is 0"));
        check(|c| c.last_values.bytes_max = 0, Err("push.last_values.bytes_max is 0"));
    }

    #[test]
    fn the_pause_of_the_fan_out_is_limited() {
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
