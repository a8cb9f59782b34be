//! Why a session ends, and the close frame that reports it.
//!
//! Codes below 4000 are RFC 6455's. 44xx mean "change something before reconnecting", 45xx
//! "reconnect with back-off and resume".

use std::borrow::Cow;

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed; its code is echoed.
    Client(Option<u16>),
    /// The connection broke, or the client shut it down without a close frame.
    Lost,
    /// The client broke the WebSocket protocol: an RFC 6455 code.
    WebSocket { code: u16, why: &'static str },
    /// The client sent a message that is not one of the subprotocol.
    NotAMessage(String),
    /// A frame of the other type than the subprotocol's.
    WrongType { expected: &'static str },
    /// The client offered none of our subprotocols.
    Subprotocol,
    /// The client did not send `Connect` in time.
    NotConnected,
    /// A command that does not belong here, such as a second `Connect`.
    State(&'static str),
    /// The node drains.
    Draining,
    /// The client's socket took nothing for too long.
    SlowConsumer,
    /// The slow-client buffer limit is exceeded, and this client's socket has taken nothing for
    /// longest.
    NoRoom,
    /// A lossless subscription exceeds the lag limit.
    Behind,
    /// The node reached its memory limit between the upgrade and `Connect`.
    NodeFull,
    /// The client did not answer a ping in time.
    NoPong,
}

impl CloseReason {
    /// The WebSocket close code; `None` when no close frame can be sent or none is due.
    pub(crate) fn code(&self) -> Option<u16> {
        Some(match self {
            Self::Client(code) => return *code,
            Self::Lost => return None,
            Self::WebSocket { code, .. } => *code,
            Self::WrongType { .. } => 1003,
            Self::NotAMessage(_) => 1007,
            Self::Subprotocol => 4406,
            Self::NotConnected => 4408,
            Self::State(_) => 4409,
            Self::Draining => 4503,
            Self::SlowConsumer | Self::NoRoom | Self::Behind => 4508,
            Self::NoPong => 4510,
            Self::NodeFull => 4529,
        })
    }

    /// Whether the client is to reconnect and go on where it was: the codes 45xx.
    pub(crate) fn asks_to_resume(&self) -> bool {
        // A client that closed with such a code itself gets nothing more.
        !matches!(self, Self::Client(_)) && self.code().is_some_and(|code| (4500..4600).contains(&code))
    }

    /// The reason in the close frame, for people.
    pub(crate) fn text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Client(_) | Self::Lost => "",
            Self::WebSocket { why, .. } | Self::State(why) => why,
            Self::NotAMessage(why) => return Cow::Owned(why.clone()),
            Self::WrongType { expected: "binary" } => {
                "tailcast.v1.proto takes binary messages; offer tailcast.v1.json for text"
            }
            Self::WrongType { .. } => {
                "tailcast.v1.json takes text messages; offer tailcast.v1.proto for binary"
            }
            Self::Subprotocol => "offer the subprotocol tailcast.v1.proto or tailcast.v1.json",
            Self::NotConnected => "connect timeout exceeded",
            Self::Draining => "this node is draining; reconnect and resume",
            Self::SlowConsumer => "write timeout exceeded: the client takes no data; reconnect and resume",
            Self::NoRoom => "slow-client buffer limit exceeded on this node; reconnect and resume",
            Self::Behind => "subscription lag limit exceeded; reconnect and resume",
            Self::NodeFull => "memory limit reached on this node; reconnect elsewhere",
            Self::NoPong => "pong timeout exceeded; reconnect and resume",
        })
    }

    /// The label in metrics: the code, or the code for a missing one.
    pub(crate) fn label(&self) -> String {
        match (self, self.code()) {
            (Self::Lost, _) => "1006".to_owned(),
            (_, None) => "1005".to_owned(),
            // A client may send any code; only those that RFC 6455 or this protocol name become
            // labels.
            (Self::Client(_), Some(code)) if !matches!(code, 1000..=1015 | 4400..=4599) => "other".to_owned(),
            (_, Some(code)) => code.to_string(),
        }
    }
}
