//! The events of a client, in order.
//!
//! Frames of the wire name a channel by a number that holds on one connection; events name the
//! channel itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tailcast_proto::{
    Channel, Offset, PartitionId, Position,
    push::v1::{Compression, DeliveryMode, ErrorCode, LostRange, Outcome, SkipReason, UnsubscribeReason},
};

use crate::{Close, resume::Fault};

/// An event of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A subscription has started: for the first time, or again after a reconnect or because its
    /// topic got more partitions.
    Subscribed(Subscribed),
    /// A record.
    Delivery(Delivery),
    /// Records that will not be delivered.
    Skipped(Skipped),
    /// The values of a snapshot are complete; live records follow.
    SnapshotEnd(SnapshotEnd),
    /// A subscription has ended.
    Unsubscribed(Unsubscribed),
    /// The connection is lost, and the client will open another one.
    Reconnecting(Reconnecting),
    /// A connection is open again. `Subscribed` of each subscription follows.
    Reconnected(Reconnected),
    /// The node is draining, and the client has moved to another connection without an
    /// interruption. `Subscribed` of each subscription follows.
    Moved(Moved),
    /// The node is alive; its lag and the progress of the subscriptions.
    Heartbeat(Heartbeat),
    /// A command failed. The connection and the other subscriptions continue.
    Error(Refused),
    /// The client has ended and will not reconnect. The last event.
    Ended(Ended),
}

/// A subscription has started.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribed {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Where it starts.
    pub position: Position,
    /// Whether it resumed. `Lost`: it could not start where requested, and `lost` has the missing
    /// ranges.
    pub outcome: Outcome,
    /// The ranges that Kafka no longer has.
    pub lost: Vec<LostRange>,
    /// The mode in force.
    pub mode: DeliveryMode,
    /// Maximum deliveries per key and second. `None`: unlimited.
    pub max_rate: Option<f64>,
}

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The channel of the subscription that it belongs to.
    pub channel: Arc<Channel>,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp in Kafka, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key. `None`: it has none.
    pub key: Option<Bytes>,
    /// Its value. `None`: a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, if the subscription requested them.
    pub headers: Vec<Header>,
    /// The W3C trace context of its publish; empty if the trace is not sampled.
    pub traceparent: String,
    /// How the value is compressed.
    pub compression: Compression,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value; null and empty are different.
    pub value: Option<Bytes>,
}

/// Records that will not be delivered: those of the channel in a range of offsets, except for those
/// delivered before.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipped {
    /// The channel.
    pub channel: Arc<Channel>,
    /// The partition.
    pub partition: PartitionId,
    /// The first skipped offset.
    pub first: Offset,
    /// The first offset after the skipped ones.
    pub next: Offset,
    /// Why.
    pub reason: SkipReason,
    /// The number of skipped records of the channel, if the node knows it; it does for conflation.
    pub records: Option<u64>,
}

/// The values of a snapshot are complete.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotEnd {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Where the subscription continues, live.
    pub position: Position,
    /// The number of values.
    pub values: u64,
}

/// A subscription has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsubscribed {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Why.
    pub reason: UnsubscribeReason,
    /// Its last position. `None`: it had not started.
    pub position: Option<Position>,
}

/// The connection is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnecting {
    /// Why.
    pub cause: Cause,
    /// The number of the next attempt, from 1.
    pub attempt: u32,
    /// The wait before it.
    pub after: Duration,
}

/// Why a connection ended, or could not be opened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The node closed it.
    #[error("the node closed the connection: {0}")]
    Closed(Close),
    /// It broke, or could not be opened.
    #[error("{0}")]
    Lost(String),
    /// The node has been silent for two and a half heartbeat intervals.
    #[error("the node was silent for two and a half heartbeat intervals")]
    Silent,
    /// The node asked to reconnect elsewhere, and its deadline passed before that succeeded.
    #[error("the node asked to reconnect elsewhere: {0}")]
    Goaway(String),
    /// A message of the node violates the protocol; the client resumes from its positions.
    #[error("the node broke the protocol: {0}")]
    Fault(Fault),
}

/// A connection is open again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnected {
    /// The node's name.
    pub node: String,
    /// The id of the session.
    pub session: String,
}

/// The client has moved to another connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The name of the new node.
    pub node: String,
    /// The id of the session.
    pub session: String,
}

/// The node is alive.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The node's clock, in milliseconds since the Unix epoch.
    pub server_time_ms: i64,
    /// The node's lag behind Kafka in records: the largest of the session's partitions.
    pub lag_records: u64,
    /// The same lag as a time.
    pub lag: Duration,
    /// The subscriptions whose positions advanced without a delivery.
    pub progress: Vec<Progress>,
}

/// A position that advanced.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The channel.
    pub channel: Arc<Channel>,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset: all records before it have been delivered.
    pub next: Offset,
}

/// A command failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}{detail}", .channel.as_ref().map(|channel| format!("{channel}: ")).unwrap_or_default())]
pub struct Refused {
    /// The channel of the command. `None`: the node named none.
    pub channel: Option<Arc<Channel>>,
    /// The error code.
    pub code: ErrorCode,
    /// The error as text.
    pub detail: String,
    /// The invalid field, if any.
    pub field: String,
    /// When the client will retry. `None`: it will not, and the subscription has ended.
    pub retry_after: Option<Duration>,
}

/// Why a client has ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Ended {
    /// The application closed it.
    #[error("the client was closed")]
    Requested,
    /// The node closed the connection with a code after which reconnecting is of no use.
    #[error("the node closed the connection: {0}")]
    Closed(Close),
    /// The node refuses this client.
    #[error("{0}")]
    Refused(String),
}
