//! What a cursor is asked to gather, and what it returns.

use std::time::Instant;

use tailcast_proto::Offset;

/// The limits of one call of [`Cursor::gather`](super::Cursor::gather).
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatherRequest {
    /// Maximum size in bytes, but at least one delivery if there is one.
    pub(crate) budget: usize,
    /// Whether the client has not accepted the previous message at once.
    pub(crate) is_behind: bool,
    pub(crate) now: Instant,
}

/// The result of [`Cursor::gather`](super::Cursor::gather).
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) deliveries: u64,
    /// Timestamp of the newest delivery; `None` without a delivery, and for last values.
    pub(crate) newest: Option<RecordTime>,
    pub(crate) conflated: Option<ConflatedRange>,
    pub(crate) follow_up: FollowUp,
}

/// Timestamp of a record, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordTime {
    /// Of a record after the start of the subscription: its age is a latency.
    Live(i64),
    /// Of a record from before the start of the subscription: its age says nothing about latency.
    Resumed(i64),
}

/// What a cursor needs after gathering.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FollowUp {
    /// Nothing until its ringer rings.
    #[default]
    Idle,
    /// To gather again: there is more than fitted.
    More,
    /// To gather again at this time.
    At(Instant),
    /// The page that contains this offset.
    Page(Offset),
}

/// Offsets that Kafka no longer has: `first` ≤ offset < `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostRange {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

/// Records in `first` ≤ offset < `next` that were left out in favour of newer ones of their keys;
/// the others were delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConflatedRange {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
    pub(crate) records: u64,
}
