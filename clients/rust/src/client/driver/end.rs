//! How a stay with a node ends, and what that means for the client.

use std::time::Duration;

use super::next::Next;
use crate::{Cause, Close, Ended, Verdict, client::establish::ConnectError, resume::Fault};

/// Why a stay ended, or did not begin.
#[derive(Debug)]
pub(super) enum EndReason {
    /// The application asked for it.
    CloseRequested,
    /// The node closed.
    Closed(Close),
    /// The connection broke.
    Lost(String),
    /// The node was silent for too long.
    Silent,
    /// The node asked to be left, and its deadline has come.
    Goaway(String),
    /// The node asked to be left, and another one is ready to take over.
    Moved,
    /// The node broke the protocol.
    Fault(Fault),
    /// The attempt failed.
    Failed(ConnectError),
}

/// How a stay ended.
pub(super) struct SessionEnd {
    pub(super) reason: EndReason,
    /// The connection that is to take over.
    pub(super) next: Next,
    /// What is left of a wait that has begun.
    pub(super) wait: Option<Duration>,
}

impl EndReason {
    /// Decides between another attempt (why, and when if the node said) and the end.
    pub(super) fn decide(self) -> Result<(Cause, Option<Duration>), Ended> {
        match self {
            Self::CloseRequested => Err(Ended::Requested),
            Self::Closed(close) => match close.verdict() {
                Verdict::Resume => Ok((Cause::Closed(close), None)),
                Verdict::End => Err(Ended::Closed(close)),
            },
            Self::Lost(error) => Ok((Cause::Lost(error), None)),
            Self::Silent => Ok((Cause::Silent, None)),
            Self::Goaway(detail) => Ok((Cause::Goaway(detail), None)),
            Self::Moved => Ok((Cause::Goaway(String::new()), None)),
            Self::Fault(fault) => Ok((Cause::Fault(fault), None)),
            Self::Failed(ConnectError::Closed { close, .. }) if close.verdict() == Verdict::End => {
                Err(Ended::Closed(close))
            }
            Self::Failed(error) if !error.is_temporary() => Err(Ended::Refused(error.to_string())),
            Self::Failed(error) => {
                let after = if let ConnectError::Open(error) = &error { error.retry_after() } else { None };
                Ok((Cause::Lost(error.to_string()), after))
            }
        }
    }
}
