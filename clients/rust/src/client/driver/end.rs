//! How a session ends, and whether the client reconnects.

use std::time::Duration;

use super::next::Next;
use crate::{Cause, Close, Ended, Verdict, client::establish::ConnectError, resume::Fault};

/// Why a session ended, or did not begin.
#[derive(Debug)]
pub(super) enum EndReason {
    /// The application closed the client.
    CloseRequested,
    /// The node closed the connection.
    Closed(Close),
    /// The connection broke.
    Lost(String),
    /// The node was silent for too long.
    Silent,
    /// The node is draining, and its deadline has passed.
    Goaway(String),
    /// The node is draining, and another one is ready to take over.
    Moved,
    /// The node violated the protocol.
    Fault(Fault),
    /// No session could be opened.
    Failed(ConnectError),
}

/// The end of a session.
pub(super) struct SessionEnd {
    pub(super) reason: EndReason,
    /// The connection that takes over.
    pub(super) next: Next,
    /// The remaining part of a wait that has begun.
    pub(super) wait: Option<Duration>,
}

impl EndReason {
    /// Decides whether the client reconnects (with the cause, and the wait that the node requested)
    /// or ends.
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
