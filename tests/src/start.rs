//! Short names for the starts of subscriptions.

use tailcast_proto::Position;
use tailcast_proto::push::v1::{self, Earliest, Live, Snapshot, Start, start::At};

/// At the next record.
pub fn live() -> Start {
    start(At::Live(Live {}))
}

/// At the oldest record.
pub fn earliest() -> Start {
    start(At::Earliest(Earliest {}))
}

/// At a position.
pub fn position(position: &Position) -> Start {
    start(At::Position(v1::Position::from(position)))
}

/// At the first record with this timestamp or a later one.
pub fn timestamp(milliseconds: i64) -> Start {
    start(At::TimestampMs(milliseconds))
}

/// With a snapshot: the latest record of each key.
pub fn snapshot() -> Start {
    start(At::Snapshot(Snapshot {}))
}

fn start(at: At) -> Start {
    Start { at: Some(at) }
}
