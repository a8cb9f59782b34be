//! One WebSocket with the options a load generator needs: source address and receive buffer.
//!
//! Deliberately below the client's `Connection`: a reader that is slow at the TCP level needs
//! SO_RCVBUF before it connects. The meaning of close codes and positions is the client's.

mod dial;

use std::{net::IpAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tailcast_client::{Close, Endpoint, Payload, Subprotocol};
use tailcast_proto::push::v1::{ClientMessage, ServerMessage};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{
            HeaderValue, Request,
            header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL},
        },
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use self::dial::dial;

/// The read buffer. Every connection keeps one, so it is small; a larger message takes several
/// reads.
const READ_BYTES: usize = 8 * 1024;

/// The largest message. A node batches records, and the largest record of Kafka's defaults is 1
/// MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How long to wait for a node to read a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How to open a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkOptions {
    pub(crate) subprotocol: Subprotocol,
    /// The address to connect from. `None`: the kernel chooses.
    pub(crate) source: Option<IpAddr>,
    /// SO_RCVBUF of a slow client, in bytes. `None`: the kernel adapts it.
    pub(crate) receive_buffer: Option<u32>,
}

/// One WebSocket to a push node.
#[derive(Debug)]
pub(crate) struct Link {
    socket: WebSocketStream<TcpStream>,
    subprotocol: Subprotocol,
}

/// Why a link ended, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The node closed it with a close frame.
    #[error("{0}")]
    Closed(Close),
    /// It ended without a close frame: 1006 in RFC 6455.
    #[error("1006 {0}")]
    Lost(String),
    /// The endpoint cannot be reached, or rejects the upgrade.
    #[error("{endpoint}: {reason}")]
    Unreachable {
        endpoint: String,
        reason: String,
        /// When to retry, if the HTTP response has it.
        retry_after: Option<Duration>,
    },
    /// A message could not be decoded.
    #[error("a message from the node cannot be decoded: {0}")]
    Malformed(String),
}

impl Link {
    /// Opens a WebSocket. The session begins with the `Connect` that the caller sends. Cancel safe.
    pub(crate) async fn open(endpoint: &Endpoint, options: LinkOptions) -> Result<Self, LinkError> {
        let request =
            request(endpoint, options.subprotocol).map_err(|error| unreachable(endpoint, &error))?;
        let stream = dial(endpoint, options).await.map_err(|error| unreachable(endpoint, &error.into()))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let upgrading = Box::pin(client_async_with_config(request, stream, Some(config)));
        let (socket, _) = upgrading.await.map_err(|error| unreachable(endpoint, &error))?;
        Ok(Self { socket, subprotocol: options.subprotocol })
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) -> Result<(), LinkError> {
        let message = match self.subprotocol.encode(message) {
            Payload::Binary(bytes) => Message::Binary(bytes),
            Payload::Text(text) => Message::Text(text.into()),
        };
        self.socket.send(message).await.map_err(ended)
    }

    /// Waits for the next message, and returns it with its size in bytes. Answers pings. Cancel
    /// safe.
    pub(crate) async fn receive(&mut self) -> Result<(ServerMessage, usize), LinkError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    let size = bytes.len();
                    let message = ServerMessage::decode(bytes);
                    return Ok((message.map_err(|error| LinkError::Malformed(error.to_string()))?, size));
                }
                Some(Ok(Message::Text(text))) => return Ok((lines(&text)?, text.len())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(LinkError::Closed(close(frame))),
                Some(Err(error)) => return Err(ended(error)),
                None => return Err(LinkError::Lost("the stream ended".into())),
            }
        }
    }

    /// Closes a connection that has moved to another node.
    pub(crate) async fn leave(mut self) {
        let frame = CloseFrame { code: 1000.into(), reason: "moved".into() };
        // The node may be gone already.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
    }
}

impl LinkError {
    /// Returns how long the server asks to wait before the next attempt.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Unreachable { retry_after, .. } = self { *retry_after } else { None }
    }

    /// Returns the close code, if the connection had been open.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Closed(close) => Some(close.code),
            Self::Lost(_) => Some(1006),
            Self::Unreachable { .. } | Self::Malformed(_) => None,
        }
    }
}

fn request(endpoint: &Endpoint, subprotocol: Subprotocol) -> Result<Request<()>, tungstenite::Error> {
    let mut request = endpoint.to_string().into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol.name()));
    Ok(request)
}

fn unreachable(endpoint: &Endpoint, error: &tungstenite::Error) -> LinkError {
    let retry_after = if let tungstenite::Error::Http(answer) = error {
        let header = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        header.map(Duration::from_secs)
    } else {
        None
    };
    LinkError::Unreachable { endpoint: endpoint.to_string(), reason: error.to_string(), retry_after }
}

/// Decodes a text message: one server message per line.
fn lines(text: &str) -> Result<ServerMessage, LinkError> {
    let mut message = ServerMessage::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let part: ServerMessage =
            serde_json::from_str(line).map_err(|error| LinkError::Malformed(error.to_string()))?;
        message.frames.extend(part.frames);
    }
    Ok(message)
}

fn close(frame: Option<CloseFrame>) -> Close {
    frame.map_or_else(
        || Close { code: 1005, reason: String::new() },
        |frame| Close { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
    )
}

fn ended(error: tungstenite::Error) -> LinkError {
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        tungstenite::Error::Io(error) => LinkError::Lost(error.kind().to_string()),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ResetWithoutClosingHandshake) => {
            LinkError::Lost("no close frame".into())
        }
        error => LinkError::Malformed(error.to_string()),
    }
}
