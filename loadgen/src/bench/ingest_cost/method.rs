//! The publishing methods, and how many events each keeps in flight.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A method of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    /// Publish, with one event per call.
    Unary,
    /// Publish, with a hundred events per call.
    Batch,
    /// PublishStream, with a hundred events per request.
    Stream,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Unary, Self::Batch, Self::Stream];

    /// Returns the number of events per request.
    pub(crate) fn per_request(self) -> u64 {
        match self {
            Self::Unary => 1,
            Self::Batch | Self::Stream => 100,
        }
    }

    /// Returns the number of connections. A connection has at most 128 calls
    /// (`ingest.connection_calls_max`).
    pub(crate) fn connections(self) -> u64 {
        2
    }

    /// Returns how many events of a connection may be unacknowledged: for a stream its credits
    /// (`ingest.stream_credits`), for calls fewer than ingest accepts at a time
    /// (`ingest.arriving_max`).
    pub(crate) fn in_flight_of_connection(self) -> u64 {
        match self {
            Self::Unary => 100,
            Self::Batch => 50 * self.per_request(),
            Self::Stream => 5_000,
        }
    }

    /// Returns how many events may be unacknowledged in total, on either side.
    pub(crate) fn in_flight(self) -> u64 {
        self.connections() * self.in_flight_of_connection()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unary => "unary",
            Self::Batch => "batch",
            Self::Stream => "stream",
        })
    }
}
