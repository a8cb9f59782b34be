//! A request for a subscription: the channel, the start, and the mode when it is behind.

use std::str::FromStr;

use tailcast_proto::{Channel, Position, push::v1};

/// A subscription to ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The channel. A client has at most one subscription per channel.
    pub channel: Channel,
    /// What happens when it is behind.
    pub mode: Mode,
    /// Where it starts. After a reconnect it starts at its position instead.
    pub start: Start,
    /// Whether deliveries carry the records' headers.
    pub headers: bool,
}

/// What happens when a subscription is behind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Mode {
    /// Every record, in order.
    #[default]
    Lossless,
    /// The latest record of each key, and how many were skipped.
    Conflated {
        /// At most this many deliveries per key. `None`: as many as the client keeps up with.
        max_rate: Option<MaxRate>,
    },
}

/// How often the latest record of a key is delivered at most: 0.1 to 1,000 times a second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct MaxRate(f64);

/// Why a number is not a rate that a subscription can have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not a rate; a rate is from 0.1 to 1000 per second")]
pub struct MaxRateError(f64);

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With the next record that is appended.
    #[default]
    Live,
    /// With the oldest record that Kafka still has.
    Earliest,
    /// With the first record at or after this position.
    Position(Position),
    /// With the first record whose timestamp is at or after this, in milliseconds since the Unix epoch.
    Timestamp(i64),
    /// With the latest record of each key, then live.
    Snapshot,
}

impl Subscription {
    /// Asks for every record of a channel from now on, without headers.
    #[must_use]
    pub fn to(channel: Channel) -> Self {
        Self { channel, mode: Mode::default(), start: Start::default(), headers: false }
    }

    /// Changes where the subscription starts.
    #[must_use]
    pub fn from(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Changes what happens when the subscription is behind.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Asks for the latest record of each key where the subscription is behind, instead of every record.
    #[must_use]
    pub fn conflated(self) -> Self {
        self.mode(Mode::Conflated { max_rate: None })
    }

    /// Asks for the latest record of each key, at most this often.
    #[must_use]
    pub fn conflated_to(self, max_rate: MaxRate) -> Self {
        self.mode(Mode::Conflated { max_rate: Some(max_rate) })
    }

    /// Asks for the latest record of each key first, then for new records.
    #[must_use]
    pub fn with_snapshot(self) -> Self {
        self.from(Start::Snapshot)
    }

    /// Asks for the records' headers.
    #[must_use]
    pub fn with_headers(self) -> Self {
        Self { headers: true, ..self }
    }

    /// Returns the command's content: in the subscription's mode whatever the start, starting at `position` where there is one.
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
    /// Reads a rate in deliveries per second.
    ///
    /// # Errors
    ///
    /// When it is below 0.1, above 1,000 or no number.
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
    fn a_rate_is_a_number_that_a_node_takes() {
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
