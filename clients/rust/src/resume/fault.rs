//! Violations of the protocol by a node.

use std::sync::Arc;

use tailcast_proto::{Channel, PositionError};

use crate::OrderError;

/// A violation of the protocol by a node. The client reconnects and resumes from its positions,
/// which the violation has not changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A frame has an alias that this connection does not know.
    #[error("alias {0} belongs to no subscription")]
    UnknownAlias(u32),
    /// A reply is to a command that was not sent, or was already answered.
    #[error("unexpected reply to command {id}, index {index}")]
    UnexpectedReply {
        /// The command's id.
        id: u32,
        /// The index of the subscription in the command.
        index: u32,
    },
    /// A delivery was repeated or out of order.
    #[error("{channel}: {source}")]
    Order {
        /// The channel.
        channel: Arc<Channel>,
        /// The violation.
        source: OrderError,
    },
    /// A partition or an offset is invalid, or a delivery has no partition although there are
    /// several.
    #[error("{channel}: partition {partition:?} with offset {offset} is not a valid place")]
    Place {
        /// The channel.
        channel: Arc<Channel>,
        /// The partition, if the frame has one.
        partition: Option<u32>,
        /// The offset.
        offset: i64,
    },
    /// A position is malformed.
    #[error("{channel}: {source}")]
    Position {
        /// The channel.
        channel: Arc<Channel>,
        /// The cause.
        source: PositionError,
    },
}
