//! How a stream ends, and how that looks to its caller.

use std::time::Duration;

use tonic::Code;

use crate::{
    call_error::{CallError, CallOutcome},
    validation::{Violation, Violations},
};

/// Streams are long, so room for another one comes slowly.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// How a stream ends.
#[derive(Debug)]
pub(super) enum End {
    /// The caller half-closed, and has been told everything.
    Done,
    /// The server cannot go on.
    Failed(StreamError),
}

/// Why a stream ends before its caller ends it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// There are as many streams as the node serves.
    #[error("this node serves as many streams as it may; try again, or use fewer")]
    TooMany,
    /// A request does not continue where the one before ended.
    #[error("first_sequence is {found} and has to be {expected}, where the request before ended")]
    SequenceJump {
        /// What would be right.
        expected: u64,
        /// What the request said.
        found: u64,
    },
    /// The numbers run out.
    #[error("first_sequence is {found}, which leaves no room to count on; start at a smaller number")]
    SequenceTooLarge {
        /// What the request said.
        found: u64,
    },
    /// A request is malformed as a whole.
    #[error("the request is not valid")]
    Invalid(Violations),
    /// What arrived is no request.
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
    /// The caller's deadline.
    #[error("the deadline passed; messages that were not told of may still appear")]
    Deadline,
    /// The node drains, and everything it took has been told.
    #[error("this node is shutting down; open another stream and go on there")]
    Draining,
    /// The node drained too long.
    #[error("this node shut down before it could tell of every message; those not told of may appear")]
    DrainedTooLong,
}

impl From<StreamError> for CallError {
    fn from(error: StreamError) -> Self {
        let message = error.to_string();
        match error {
            StreamError::TooMany => Self::new(Code::ResourceExhausted, "STREAMS_BOUND", message)
                .outcome(CallOutcome::Refused)
                .retry_after(ROOM_RETRY),
            StreamError::SequenceJump { .. } | StreamError::SequenceTooLarge { .. } => {
                let violation = Violation::new("first_sequence", message);
                Self::invalid([violation].into_iter().collect())
            }
            StreamError::Invalid(violations) => Self::invalid(violations),
            StreamError::Unreadable(_) => Self::new(Code::InvalidArgument, "MALFORMED_REQUEST", message),
            StreamError::Deadline => {
                Self::new(Code::DeadlineExceeded, "DEADLINE", message).outcome(CallOutcome::Unknown)
            }
            StreamError::Draining => {
                Self::new(Code::Unavailable, "DRAINING", message).outcome(CallOutcome::Refused)
            }
            StreamError::DrainedTooLong => {
                Self::new(Code::Unavailable, "DRAINING", message).outcome(CallOutcome::Unknown)
            }
        }
    }
}
