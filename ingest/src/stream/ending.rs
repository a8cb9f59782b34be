//! The end of a stream, and the caller's view of it.

use std::time::Duration;

use tonic::Code;

use crate::{
    call_error::{CallError, CallOutcome},
    validation::{Violation, Violations},
};

/// Retry delay at the limit of streams, which are long-lived.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// The end of a stream.
#[derive(Debug)]
pub(super) enum End {
    /// The caller half-closed the stream, and all outcomes were reported.
    Done,
    /// The node ends the stream with an error.
    Failed(StreamError),
}

/// Why the node ends a stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The limit of open streams is reached.
    #[error("limit of open streams reached; try again later, or use fewer streams")]
    TooMany,
    /// A request does not continue where the previous one ended.
    #[error("first_sequence is {found}; must be {expected}, to continue the previous request")]
    SequenceJump {
        /// The expected number.
        expected: u64,
        /// The number in the request.
        found: u64,
    },
    /// The sequence numbers would overflow.
    #[error("first_sequence is {found}: too large for the request; start at a smaller number")]
    SequenceTooLarge {
        /// The number in the request.
        found: u64,
    },
    /// The request as a whole is invalid.
    #[error("the request is invalid")]
    Invalid(Violations),
    /// The request cannot be decoded.
    #[error("the request cannot be decoded: {0}")]
    Unreadable(String),
    /// The caller's deadline passed.
    #[error("deadline exceeded; messages without a reported outcome may still appear")]
    Deadline,
    /// The node drains, and the outcomes of all accepted messages were reported.
    #[error("this node is draining; continue on a stream to another node")]
    Draining,
    /// Draining exceeded its time limit.
    #[error(
        "this node shut down before all outcomes were known; messages without a reported outcome may still appear"
    )]
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
