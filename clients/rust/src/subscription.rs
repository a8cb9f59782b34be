//! What an application asks for: a channel, where to start, and what to do when it is behind.

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
        /// At most this many deliveries per key and second. `None`: as many as the client keeps up with.
        max_rate: Option<f64>,
    },
}

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

    /// Asks for the records' headers.
    #[must_use]
    pub fn with_headers(self) -> Self {
        Self { headers: true, ..self }
    }

    /// Returns the command's content, starting at `position` where there is one.
    pub(crate) fn command(&self, position: Option<&Position>) -> v1::Subscribe {
        let (mode, max_rate) = match self.mode {
            Mode::Lossless => (v1::DeliveryMode::Lossless, 0.0),
            Mode::Conflated { max_rate } => (v1::DeliveryMode::Conflated, max_rate.unwrap_or_default()),
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
