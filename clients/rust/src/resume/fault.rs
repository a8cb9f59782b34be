//! Violations of the protocol by a node.

use std::sync::Arc;

use tailcast_proto::{Channel, PositionError};

use crate::OrderError;

/// A violation of the protocol by a node. The client leaves the node and resumes from its positions, which nothing of this
/// has moved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A frame is about a channel that this connection does not have.
    #[error("alias {0} belongs to no subscription")]
    UnknownAlias(u32),
    /// A reply is to a command that was not given, or that was answered.
    #[error("unexpected reply to command {id}, index {index}")]
    UnexpectedReply {
        /// The command's id.
        id: u32,
        /// Which of its subscriptions.
        index: u32,
    },
    /// A delivery was repeated or out of order.
    #[error("{channel}: {source}")]
    Order {
        /// The channel.
        channel: Arc<Channel>,
        /// What was wrong.
        source: OrderError,
    },
    /// A number is no partition or no offset, or a delivery does not say its partition where there are several.
    #[error("{channel}: partition {partition:?} and offset {offset} name no record")]
    Place {
        /// The channel.
        channel: Arc<Channel>,
        /// The partition, where one was given.
        partition: Option<u32>,
        /// The offset.
        offset: i64,
    },
    /// A position is malformed.
    #[error("{channel}: {source}")]
    Position {
        /// The channel.
        channel: Arc<Channel>,
        /// What is wrong.
        source: PositionError,
    },
}
