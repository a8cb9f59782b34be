//! A requested subscription: channel, start and mode.

use std::str::FromStr;

use tailcast_proto::{Channel, Position, push::v1};

/// A requested subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The channel. A client has at most one subscription per channel.
    pub channel: Channel,
    /// Which records are delivered when the client is behind.
    pub mode: Mode,
    /// Where it starts. After a reconnect it continues from its position instead.
    pub start: Start,
    /// Whether deliveries carry the records' headers.
    pub headers: bool,
}

/// Which records are delivered when the client is behind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Mode {
    /// Every record, in order.
    #[default]
    Lossless,
    /// The latest record of each key, and the number of skipped records.
    Conflated {
        /// Maximum rate of deliveries per key. `None`: unlimited.
        max_rate: Option<MaxRate>,
    },
}

/// A maximum rate of deliveries per key: 0.1 to 1,000 per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct MaxRate(f64);

/// Why a number is not a valid rate.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not a valid rate; it must be from 0.1 to 1000 per second")]
pub struct MaxRateError(f64);

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// At the next record.
    #[default]
    Live,
    /// At the oldest record that Kafka still has.
    Earliest,
    /// At this position.
    Position(Position),
    /// At the first record with this timestamp or a later one, in milliseconds since the Unix
    /// epoch.
    Timestamp(i64),
    /// With the latest record of each key, then live.
    Snapshot,
}

impl Subscription {
    /// Requests every record of a channel from now on, without headers.
    #[must_use]
    pub fn to(channel: Channel) -> Self {
        Self { channel, mode: Mode::default(), start: Start::default(), headers: false }
    }

    /// Sets the start.
    #[must_use]
    pub fn from(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Requests only the latest record of each key whenever the client is behind.
    #[must_use]
    pub fn conflated(self) -> Self {
        self.mode(Mode::Conflated { max_rate: None })
    }

    /// Requests only the latest record of each key, at this rate or a lower one.
    #[must_use]
    pub fn conflated_to(self, max_rate: MaxRate) -> Self {
        self.mode(Mode::Conflated { max_rate: Some(max_rate) })
    }

    /// Requests the latest record of each key first, then new records.
    #[must_use]
    pub fn with_snapshot(self) -> Self {
        self.from(Start::Snapshot)
    }

    /// Requests the records' headers.
    #[must_use]
    pub fn with_headers(self) -> Self {
        Self { headers: true, ..self }
    }

    /// Returns the command's content, starting at `position` if there is one.
    pub(crate) fn command(&self, position: Option<&Position>) -> v1::Subscribe {
        let (mode, max_rate) = match self.mode {
            Mode::Lossless => (v1::DeliveryMode::Lossless, 0.0),
            Mode::Conflated { max_rate } => (v1::DeliveryMode::Conflated, max_rate.map_or(0.0, MaxRate::get)),
        };
        let at = match (position, &self.start) {
            (Some(position), _) | (None, Start::Position(position)) => {
                v1::start::At::Position(position.into())
            }
            (None, Start::Live) => v1::start::At::Live(v1::Live {}),
            (None, Start::Earliest) => v1::start::At::Earliest(v1::Earliest {}),
            (None, Start::Timestamp(ms)) => v1::start::At::TimestampMs(*ms),
            (None, Start::Snapshot) => v1::start::At::Snapshot(v1::Snapshot {}),
        };
        v1::Subscribe {
            target: Some(v1::subscribe::Target::Channel((&self.channel).into())),
            mode: mode.into(),
            max_rate,
            start: Some(v1::Start { at: Some(at) }),
            headers: self.headers,
        }
    }
}

impl MaxRate {
    /// Returns a rate in deliveries per second.
    ///
    /// # Errors
    ///
    /// When it is below 0.1, above 1,000 or not a number.
    pub fn per_second(rate: f64) -> Result<Self, MaxRateError> {
        if (0.1..=1000.0).contains(&rate) { Ok(Self(rate)) } else { Err(MaxRateError(rate)) }
    }

    /// Returns the rate in deliveries per second.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for MaxRate {
    type Err = MaxRateError;

    fn from_str(text: &str) -> Result<Self, MaxRateError> {
        Self::per_second(text.parse().unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_the_limits_of_the_protocol() {
        for rate in [0.1, 2.5, 1000.0] {
            assert_eq!(MaxRate::per_second(rate).map(MaxRate::get), Ok(rate));
        }
        // JSON has no way to write the last two.
        for rate in [0.0, -1.0, 1000.5, f64::NAN, f64::INFINITY] {
            assert!(MaxRate::per_second(rate).is_err(), "{rate}");
        }
        assert_eq!("2.5".parse(), MaxRate::per_second(2.5));
        assert!("often".parse::<MaxRate>().is_err());
    }
}
