//! One WebSocket to a push node, without reconnects.
//!
//! For tests and load generators, and the base of [`Client`](crate::Client). Pings are answered
//! while [`Connection::receive`] is awaited; otherwise they are not, and the node closes the
//! connection after its timeout.

mod open;

mod wire;

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tailcast_proto::push::v1::{ClientMessage, ServerMessage};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, Utf8Bytes, protocol::CloseFrame},
};

pub use self::{
    open::{ConnectionOptions, OpenError},
    wire::Subprotocol,
};
use crate::Close;

/// One WebSocket to a push node.
#[derive(Debug)]
pub struct Connection {
    socket: WebSocketStream<TcpStream>,
    subprotocol: Subprotocol,
}

/// A message of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its content.
    pub message: ServerMessage,
    /// Its size on the wire, in bytes, without WebSocket framing.
    pub bytes: usize,
}

/// A message as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A binary message.
    Binary(Bytes),
    /// A text message.
    Text(String),
}

/// Why no message was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The node closed the connection.
    #[error("the node closed the connection: {0}")]
    Closed(Close),
    /// The connection broke without a close frame (code 1006 of RFC 6455).
    #[error("the connection broke: {0}")]
    Lost(#[source] io::Error),
    /// The received bytes are not a message of the subprotocol, or violate RFC 6455.
    #[error("the node sent an invalid message: {0}")]
    Malformed(String),
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection is closed or broken. [`Connection::receive`] returns the reason.
    #[error("the connection is closed: {0}")]
    Closed(#[source] Box<tungstenite::Error>),
    /// The node read nothing for too long.
    #[error("the node read nothing for {} s", .0.as_secs())]
    Stuck(Duration),
}

impl Connection {
    /// Sends a message, and waits until the kernel has it.
    ///
    /// Cancel safe in that the connection stays usable: the message may or may not be sent.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), SendError> {
        self.send_raw(self.subprotocol.encode(message)).await
    }

    /// Sends a payload without checks; for tests.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub async fn send_raw(&mut self, payload: Payload) -> Result<(), SendError> {
        let message = match payload {
            Payload::Binary(bytes) => Message::Binary(bytes),
            Payload::Text(text) => Message::Text(text.into()),
        };
        self.socket.send(message).await.map_err(|error| SendError::Closed(Box::new(error)))
    }

    /// Waits for the next message and decodes it. Values are slices of the received bytes, not
    /// copies.
    ///
    /// Cancel safe: a message that has arrived in part is kept.
    ///
    /// # Errors
    ///
    /// When the node closed the connection, it broke, or the message is invalid.
    pub async fn receive(&mut self) -> Result<Received, ReceiveError> {
        let payload = self.receive_raw().await?;
        let bytes = payload.len();
        let message = self.subprotocol.decode(payload).map_err(ReceiveError::Malformed)?;
        Ok(Received { message, bytes })
    }

    /// Waits for the next message, without decoding it.
    ///
    /// Cancel safe, as [`Connection::receive`] is.
    ///
    /// # Errors
    ///
    /// When the node closed the connection, or it broke.
    pub async fn receive_raw(&mut self) -> Result<Payload, ReceiveError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(Payload::Binary(bytes)),
                Some(Ok(Message::Text(text))) => return Ok(Payload::Text(text.as_str().to_owned())),
                // The pong is queued; the next turn of this loop writes it.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(ReceiveError::Closed(close(frame))),
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(ReceiveError::Lost(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Closes the connection with a code, and waits for the node's close frame for at most
    /// `patience`.
    pub async fn close(mut self, code: u16, reason: &str, patience: Duration) {
        let reason = Utf8Bytes::from(reason);
        let handshake = async {
            // An error means that the connection is already closed.
            let _ = self.socket.close(Some(CloseFrame { code: code.into(), reason })).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = timeout(patience, handshake).await;
    }

    /// Returns the subprotocol in use.
    #[must_use]
    pub fn subprotocol(&self) -> Subprotocol {
        self.subprotocol
    }
}

impl Payload {
    /// Returns the size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn close(frame: Option<CloseFrame>) -> Close {
    frame.map_or_else(
        || Close { code: 1005, reason: String::new() },
        |frame| Close { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
    )
}

fn lost(error: tungstenite::Error) -> ReceiveError {
    match error {
        tungstenite::Error::Io(error) => ReceiveError::Lost(error),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            ReceiveError::Lost(io::ErrorKind::NotConnected.into())
        }
        // The node closed the connection without a close frame.
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            ReceiveError::Lost(io::ErrorKind::ConnectionReset.into())
        }
        error => ReceiveError::Malformed(error.to_string()),
    }
}
