//! A push node that a test controls step by step.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tailcast_proto::{
    Position,
    push::v1::{self, ClientMessage, Frame, ServerMessage, client_message::Command, frame},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::CloseFrame,
    },
};

/// Longer than any step takes, so that a broken test ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A push node that a test controls step by step.
pub(crate) struct Node {
    listener: TcpListener,
    /// The announced heartbeat interval, in milliseconds.
    pub(crate) heartbeat_interval_ms: u32,
}

/// The client has disconnected.
#[derive(Debug)]
pub(crate) struct Disconnected;

/// A session of a client.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    json: bool,
    /// The `Authorization` header of the upgrade.
    pub(crate) authorization: Option<String>,
    /// The id of the client's `Connect`.
    pub(crate) id: u32,
    /// The client's `Connect`.
    pub(crate) connect: v1::Connect,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback is free");
        Self { listener, heartbeat_interval_ms: 60_000 }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/connect", self.address())
    }

    /// Accepts a client and its `Connect`, without a reply.
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    pub(crate) async fn accept(&self) -> Session {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("a client connects in time")
            .expect("a connection is accepted");
        let (mut subprotocol, mut authorization) = (None, None);
        let socket = accept_hdr_async(stream, |request: &Request, mut response: Response| {
            let header = |name| request.headers().get(name).cloned();
            subprotocol = header("sec-websocket-protocol");
            authorization = header("authorization");
            if let Some(subprotocol) = &subprotocol {
                response.headers_mut().insert("sec-websocket-protocol", subprotocol.clone());
            }
            Ok(response)
        });
        let socket = socket.await.expect("the client upgrades");
        let text = |value: Option<http::HeaderValue>| value?.to_str().ok().map(str::to_owned);
        let mut session = Session {
            socket,
            json: text(subprotocol).as_deref() == Some("tailcast.v1.json"),
            authorization: text(authorization),
            id: 0,
            connect: v1::Connect::default(),
        };
        let message = session.receive().await.expect("the client sends Connect");
        let Some(Command::Connect(connect)) = message.command else { panic!("{message:?} is no Connect") };
        (session.id, session.connect) = (message.id, connect);
        session
    }

    /// Accepts a client and opens its session.
    pub(crate) async fn welcome(&self) -> Session {
        let mut session = self.accept().await;
        session.connected(self).await;
        session
    }

    /// Refuses the upgrade of a client.
    pub(crate) async fn refuse(&self, status: u16, retry_after_s: Option<u32>) {
        let (mut stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("a client connects in time")
            .expect("a connection is accepted");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("the client asks"));
        }
        let after = retry_after_s.map(|after| format!("Retry-After: {after}\r\n")).unwrap_or_default();
        let response =
            format!("HTTP/1.1 {status} No\r\n{after}Content-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(response.as_bytes()).await.expect("the client is there");
    }
}

impl Session {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.socket.get_ref().peer_addr().expect("it is connected")
    }

    /// Sends `Connected`.
    pub(crate) async fn connected(&mut self, node: &Node) {
        let connected = v1::Connected {
            node: "node".into(),
            heartbeat_interval_ms: node.heartbeat_interval_ms,
            ..Default::default()
        };
        let id = self.id;
        self.send_frames([Frame { id, frame: Some(frame::Frame::Connected(connected)) }]).await;
    }

    pub(crate) async fn send_frames(&mut self, frames: impl IntoIterator<Item = Frame>) {
        self.try_send_frames(frames).await.expect("the client is there");
    }

    /// Sends frames to a client that may have disconnected.
    pub(crate) async fn try_send_frames(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
    ) -> Result<(), Disconnected> {
        let message = ServerMessage { frames: frames.into_iter().collect() };
        let message = if self.json {
            Message::text(serde_json::to_string(&message).expect("frames are valid JSON"))
        } else {
            Message::binary(message.encode_to_vec())
        };
        self.socket.send(message).await.map_err(|_| Disconnected)
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("the client is there");
    }

    /// Answers subscription `index` of command `id`.
    pub(crate) async fn subscribed(&mut self, id: u32, index: u32, alias: u32, position: &str) {
        self.send_frames([subscribed(id, index, alias, position, v1::Outcome::Resumed)]).await;
    }

    pub(crate) async fn deliver(&mut self, alias: u32, offset: i64) {
        self.send_frames([delivery(alias, offset)]).await;
    }

    /// Waits for a `Subscribe` and answers it.
    pub(crate) async fn subscribe(&mut self, alias: u32, position: &str) -> v1::Subscribe {
        let message = self.receive().await.expect("the client subscribes");
        let Some(Command::Subscribe(subscribe)) = message.command else {
            panic!("{message:?} is no Subscribe")
        };
        self.subscribed(message.id, 0, alias, position).await;
        subscribe
    }

    /// Returns the positions of the subscriptions that `Connect` carried.
    pub(crate) fn positions(&self) -> Vec<String> {
        let position = |subscribe: &v1::Subscribe| match &subscribe.start.as_ref().and_then(|s| s.at.clone())
        {
            Some(v1::start::At::Position(position)) => {
                Position::try_from(position.clone()).expect("a position").to_string()
            }
            other => format!("{other:?}"),
        };
        self.connect.subscriptions.iter().map(position).collect()
    }

    /// Waits for the client's next message; `None` if the connection is closed.
    pub(crate) async fn receive(&mut self) -> Option<ClientMessage> {
        match self.receive_any().await? {
            Message::Binary(bytes) => Some(ClientMessage::decode(bytes).expect("the client speaks protobuf")),
            Message::Text(text) => Some(serde_json::from_str(&text).expect("the client speaks JSON")),
            _ => None,
        }
    }

    pub(crate) async fn receive_any(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.socket.next()).await.expect("the client sends something in time")?.ok()
    }

    /// Waits until the client has disconnected, and returns its close code.
    pub(crate) async fn left(mut self) -> Option<u16> {
        let mut code = None;
        while let Some(message) = self.receive_any().await {
            if let Message::Close(Some(frame)) = message {
                code = Some(frame.code.into());
            }
        }
        code
    }

    /// Closes the connection, and waits until the client has disconnected.
    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.send(Message::Close(Some(frame))).await;
        self.left().await;
    }
}

pub(crate) fn delivery(alias: u32, offset: i64) -> Frame {
    let value = Some(v1::delivery::ValueForm::Value(offset.to_string().into()));
    let delivery = v1::Delivery { alias, offset, value_form: value, ..Default::default() };
    Frame { id: 0, frame: Some(frame::Frame::Delivery(delivery)) }
}

/// Returns the reply to subscription `index` of command `id`.
pub(crate) fn subscribed(id: u32, index: u32, alias: u32, position: &str, outcome: v1::Outcome) -> Frame {
    let position: Position = position.parse().expect("a position");
    let subscribed = v1::Subscribed {
        index,
        alias,
        position: Some((&position).into()),
        outcome: outcome.into(),
        ..Default::default()
    };
    Frame { id, frame: Some(frame::Frame::Subscribed(subscribed)) }
}
