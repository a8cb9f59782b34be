//! The two encodings of a message.

use prost::Message as _;
use tailcast_proto::push::v1::{ClientMessage, ServerMessage};

use super::Payload;

/// The encoding of messages, negotiated in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subprotocol {
    /// `tailcast.v1.proto`: protobuf in binary messages.
    #[default]
    Proto,
    /// `tailcast.v1.json`: canonical ProtoJSON in text messages, one per line.
    Json,
}

impl Subprotocol {
    /// Returns the name in the handshake.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proto => "tailcast.v1.proto",
            Self::Json => "tailcast.v1.json",
        }
    }

    /// Encodes a client's message.
    ///
    /// # Panics
    ///
    /// Never: a client message has no map.
    #[must_use]
    pub fn encode(self, message: &ClientMessage) -> Payload {
        match self {
            Self::Proto => Payload::Binary(message.encode_to_vec().into()),
            Self::Json => {
                Payload::Text(serde_json::to_string(message).expect("a client message is valid JSON"))
            }
        }
    }

    /// Decodes a node's message; the lines of one text message become one message.
    pub(super) fn decode(self, payload: Payload) -> Result<ServerMessage, String> {
        match (self, payload) {
            (Self::Proto, Payload::Binary(bytes)) => {
                ServerMessage::decode(bytes).map_err(|error| error.to_string())
            }
            (Self::Json, Payload::Text(text)) => {
                let mut message = ServerMessage::default();
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let part: ServerMessage =
                        serde_json::from_str(line).map_err(|error| error.to_string())?;
                    message.frames.extend(part.frames);
                }
                Ok(message)
            }
            (Self::Proto, Payload::Text(_)) => {
                Err("received a text message; the subprotocol has binary messages".into())
            }
            (Self::Json, Payload::Binary(_)) => {
                Err("received a binary message; the subprotocol has text messages".into())
            }
        }
    }
}
