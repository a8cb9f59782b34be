//! What a node must not say.

use std::sync::Arc;

use tailcast_proto::{Channel, PositionError};

use crate::OrderError;

/// What a node said against the protocol. The client leaves the node and resumes from its positions, which nothing of this
/// has moved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A frame is about a channel that this connection does not have.
    #[error("alias {0} is of no subscription")]
    UnknownAlias(u32),
    /// A reply is to a command that was not given, or that was answered.
    #[error("a reply to command {id}, index {index}, which waits for none")]
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
        /// The partition, where one was said.
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
