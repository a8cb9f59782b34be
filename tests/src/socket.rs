//! A WebSocket with Tailcast's subprotocols, over tokio-tungstenite, which shares no code with the
//! node.

use std::io;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use socket2::SockRef;
use tailcast_proto::push::v1::{ClientMessage, Frame, ServerMessage};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The subprotocol: the encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `tailcast.v1.proto`.
    Proto,
    /// `tailcast.v1.json`.
    Json,
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The code of the node's close frame; `None` if it sent none, or one without a code.
    pub code: Option<u16>,
    /// The reason in the node's close frame.
    pub reason: String,
}

/// The receive buffer of a slow reader; the kernel's minimum is about this.
const NARROW_BYTES: u32 = 4_096;

/// An open WebSocket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    wire: Wire,
}

impl Wire {
    /// Returns the name of the subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Proto => "tailcast.v1.proto",
            Self::Json => "tailcast.v1.json",
        }
    }

    /// Encodes a message of the client.
    pub fn encode(self, message: &ClientMessage) -> Message {
        match self {
            Self::Proto => Message::binary(message.encode_to_vec()),
            Self::Json => Message::text(serde_json::to_string(message).expect("a message is JSON")),
        }
    }

    fn decode(self, message: Message) -> Vec<Frame> {
        match (self, message) {
            (Self::Proto, Message::Binary(bytes)) => {
                ServerMessage::decode(bytes).expect("a node sends valid protobuf").frames
            }
            (Self::Json, Message::Text(lines)) => lines
                .lines()
                .map(|line| {
                    serde_json::from_str::<ServerMessage>(line)
                        .unwrap_or_else(|error| panic!("a node sends valid ProtoJSON: {error}: {line}"))
                })
                .flat_map(|message| message.frames)
                .collect(),
            (_, Message::Ping(_) | Message::Pong(_)) => Vec::new(),
            (wire, other) => panic!("a node sends {wire:?}, not {other:?}"),
        }
    }
}

impl Socket {
    /// Opens a WebSocket to a push node.
    ///
    /// # Errors
    ///
    /// When the node refuses the connection or the upgrade.
    pub async fn open(node: SocketAddr, wire: Wire) -> Result<Self, Error> {
        Self::upgrade(TcpStream::connect(node).await?, node, wire).await
    }

    /// Opens a WebSocket with a small receive buffer, for a slow reader.
    ///
    /// # Errors
    ///
    /// When the node refuses the connection or the upgrade.
    pub async fn open_narrow(node: SocketAddr, wire: Wire) -> Result<Self, Error> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(NARROW_BYTES)?;
        // With the 64 KB segments of loopback, data would arrive in pieces of 2 KB after a pause.
        SockRef::from(&socket).set_tcp_mss(1_460)?;
        Self::upgrade(socket.connect(node).await?, node, wire).await
    }

    async fn upgrade(stream: TcpStream, node: SocketAddr, wire: Wire) -> Result<Self, Error> {
        let mut request = format!("ws://{node}/v1/connect").into_client_request()?;
        let subprotocol = http::HeaderValue::from_static(wire.subprotocol());
        request.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        // tungstenite fails the handshake unless the node answers with the requested subprotocol.
        let (stream, _response) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { stream, wire })
    }

    /// Sends a message of the client.
    pub async fn send(&mut self, message: &ClientMessage) {
        self.send_raw(self.wire.encode(message)).await;
    }

    /// Sends a WebSocket message unchanged.
    ///
    /// # Panics
    ///
    /// When the socket is closed.
    pub async fn send_raw(&mut self, message: Message) {
        self.stream.send(message).await.expect("the socket is open");
    }

    /// Waits for the next WebSocket message, and answers pings.
    ///
    /// # Errors
    ///
    /// How the socket ended.
    pub async fn receive(&mut self) -> Result<Vec<Frame>, Closed> {
        let mut closed = Closed { code: None, reason: String::new() };
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    closed = Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() };
                }
                Some(Ok(Message::Close(None))) => {}
                Some(Ok(message)) => return Ok(self.wire.decode(message)),
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Err(closed),
                Some(Err(error)) => return Err(ended_by(closed, error)),
            }
        }
    }

    /// Sends a close frame with code 1000.
    pub async fn close(&mut self) {
        // The node may have closed it first.
        let _closed = self.stream.close(None).await;
    }
}

/// Returns how the socket ended. A reset after the close frame is ignored.
fn ended_by(closed: Closed, error: Error) -> Closed {
    match error {
        Error::Protocol(_) | Error::Io(_) if closed.code.is_some() => closed,
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            Closed { code: None, reason: error.to_string() }
        }
        Error::Protocol(error) => Closed { code: None, reason: error.to_string() },
        error => panic!("a node speaks WebSocket: {error}"),
    }
}
