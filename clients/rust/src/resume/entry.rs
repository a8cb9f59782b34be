//! One subscription of a client.

use std::sync::Arc;

use tailcast_proto::{Channel, Offset, PartitionId, Position, push::v1};

use super::Fault;
use crate::{Subscription, Tracker};

/// One subscription.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subscription: Subscription,
    /// The subscription's channel, shared with every event about it.
    pub(super) channel: Arc<Channel>,
    pub(super) tracker: Tracker,
    pub(super) state: State,
    /// The channel's number on this connection.
    pub(super) alias: Option<u32>,
    /// The partition of deliveries that do not say theirs.
    pub(super) home: Option<PartitionId>,
}

/// What this connection knows of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not asked for.
    Idle,
    /// Asked for, and not answered.
    Asked,
    /// Started.
    Live,
    /// Refused for now; to be asked for again.
    Again,
    /// Being ended.
    Leaving,
}

impl Entry {
    pub(super) fn new(subscription: Subscription) -> Self {
        let channel = Arc::new(subscription.channel.clone());
        let tracker = Tracker::new(&channel);
        Self { subscription, channel, tracker, state: State::Idle, alias: None, home: None }
    }

    /// Reads a place in Kafka that a frame names.
    pub(super) fn place(&self, partition: Option<u32>, offset: i64) -> Result<(PartitionId, Offset), Fault> {
        let named = match partition {
            Some(partition) => PartitionId::try_from(partition).ok(),
            None => self.home,
        };
        named.zip(Offset::new(offset)).ok_or_else(|| Fault::Place {
            channel: Arc::clone(&self.channel),
            partition,
            offset,
        })
    }

    /// Reads a position that a frame carries; none at all is an empty one.
    pub(super) fn position(&self, position: Option<v1::Position>) -> Result<Position, Fault> {
        Position::try_from(position.unwrap_or_default())
            .map_err(|source| Fault::Position { channel: Arc::clone(&self.channel), source })
    }
}
