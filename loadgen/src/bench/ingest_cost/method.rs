//! The methods of publishing, and how much is in flight with each.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A method of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    /// Publish, one event each.
    Unary,
    /// Publish, a hundred events each.
    Batch,
    /// PublishStream, a hundred events in each request.
    Stream,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Unary, Self::Batch, Self::Stream];

    /// Returns how many events a request has.
    pub(crate) fn per_request(self) -> u64 {
        match self {
            Self::Unary => 1,
            Self::Batch | Self::Stream => 100,
        }
    }

    /// Returns the number of connections. A connection has at most 128 calls (`ingest.connection_calls_max`).
    pub(crate) fn connections(self) -> u64 {
        2
    }

    /// Returns how many events of a connection may be unanswered: of a stream as many as it has credits
    /// (`ingest.stream_credits`), of calls fewer than may arrive at a time (`ingest.arriving_max`).
    pub(crate) fn in_flight_of_connection(self) -> u64 {
        match self {
            Self::Unary => 100,
            Self::Batch => 50 * self.per_request(),
            Self::Stream => 5_000,
        }
    }

    /// Returns how many events may be unanswered in all, on either side.
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
