//! A connection to a scripted node.
//!
//! The node is a WebSocket server in the test: it accepts one session after the other, checks its
//! start position, and follows the script.

use std::{cell::Cell, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tailcast_proto::push::v1::{
    self, ClientMessage, Connected, Delivery, Frame, Goaway, PartitionOffset, Position, ServerMessage,
    Skipped, Subscribe, Subscribed, Unsubscribed, client_message::Command, delivery::ValueForm, frame,
    start::At,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::CloseFrame,
    },
};

use super::{Reader, Shared};
use crate::{
    account::{Account, Records},
    cli::Cli,
    payload::{Event, Format},
    plan::Plan,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The node's side of one session.
struct Session {
    socket: WebSocketStream<TcpStream>,
}

/// A node, and a connection to it.
struct Scene {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Scene {
    async fn new(arguments: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("ws://{}/v1/connect", listener.local_addr().expect("it is bound"));
        let cli = Cli::of(&format!("--keys 1 --url {url} {arguments}"));
        let plan = Arc::new(Plan::new(cli.load.rate, cli.load.keys, 1, cli.load.length()));
        let shared = Arc::new(Shared::new(&cli, &plan, &Arc::new(Format::new(7, 64))));
        Self { listener, shared }
    }

    /// Runs a connection to its end against the node's script.
    async fn play(self, node: impl AsyncFnOnce(&Node)) -> Account {
        let node_side =
            Node { listener: self.listener, format: Format::new(7, 64), heartbeat_ms: Cell::new(10_000) };
        let stop = self.shared.signals.stop.clone();
        let reading = async {
            let (reader, link) = Reader::open(0, Arc::clone(&self.shared)).await.expect("the node takes it");
            reader.run(link).await
        };
        let playing = async {
            node(&node_side).await;
            stop.cancel();
        };
        let (account, ()) = timeout(TIMEOUT, async { tokio::join!(reading, playing) })
            .await
            .expect("the scene is over in time");
        account
    }
}

struct Node {
    listener: TcpListener,
    format: Format,
    /// The heartbeat interval that its sessions announce.
    heartbeat_ms: Cell<u32>,
}

impl Node {
    /// Accepts a session, checks its start position, and starts its subscription under an alias.
    async fn session(&self, start: Option<i64>, alias: u32) -> Session {
        let (stream, _) = self.listener.accept().await.expect("a client comes");
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let echo = |_: &Request, mut response: Response| {
            let name = HeaderValue::from_static("tailcast.v1.proto");
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
            Ok(response)
        };
        let socket = accept_hdr_async(stream, echo).await.expect("it speaks WebSocket");
        let mut session = Session { socket };
        let Some(Command::Connect(connect)) = session.receive().await.command else {
            panic!("Connect comes first")
        };
        assert_eq!(connect.subscriptions.len(), 1);
        assert_eq!(asked(&connect.subscriptions[0]), start);
        let connected = Connected { heartbeat_interval_ms: self.heartbeat_ms.get(), ..Connected::default() };
        session.send(1, [frame::Frame::Connected(connected)]).await;
        session.subscribed(1, alias, start.unwrap_or_default()).await;
        session
    }

    fn delivery(&self, alias: u32, offset: u64) -> frame::Frame {
        let event = Event { key: 0, sequence: offset, at_ns: 0 };
        frame::Frame::Delivery(Delivery {
            alias,
            offset: i64::try_from(offset).expect("it is small"),
            value_form: Some(ValueForm::Value(self.format.write(&event))),
            ..Delivery::default()
        })
    }
}

impl Session {
    async fn receive(&mut self) -> ClientMessage {
        loop {
            if let Message::Binary(bytes) =
                self.socket.next().await.expect("the client is there").expect("it speaks WebSocket")
            {
                return ClientMessage::decode(bytes).expect("it speaks the protocol");
            }
        }
    }

    async fn send(&mut self, id: u32, frames: impl IntoIterator<Item = frame::Frame>) {
        let frames = frames.into_iter().map(|frame| Frame { id, frame: Some(frame) }).collect();
        let message = ServerMessage { frames }.encode_to_vec();
        self.socket.send(Message::Binary(message.into())).await.expect("the client is there");
    }

    async fn subscribed(&mut self, id: u32, alias: u32, offset: i64) {
        let position = Position {
            epoch: String::new(),
            offsets: vec![PartitionOffset { partition: 0, offset }],
            partition_count: 1,
        };
        let subscribed = Subscribed { alias, position: Some(position), ..Subscribed::default() };
        self.send(id, [frame::Frame::Subscribed(subscribed)]).await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.socket.close(Some(frame)).await.expect("the client is there");
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Waits until the client has read everything, as its pong shows.
    async fn taken(&mut self) {
        self.socket.send(Message::Ping("all".into())).await.expect("the client is there");
        while !matches!(self.socket.next().await, Some(Ok(Message::Pong(_)))) {}
    }
}

fn asked(subscribe: &Subscribe) -> Option<i64> {
    match subscribe.start.as_ref()?.at.as_ref()? {
        At::Position(position) => position.offsets.first().map(|at| at.offset),
        other => panic!("{other:?} is no position"),
    }
}

#[track_caller]
fn missing(account: &Account, count: u64) -> Vec<u64> {
    match &account.channels[0].records {
        Records::Lossless(keys) => keys[0].missing(count).collect(),
        Records::Conflated { .. } => panic!("it is lossless"),
    }
}

#[tokio::test]
async fn a_session_that_is_closed_is_resumed_where_it_ended() {
    let account = Scene::new("")
        .await
        .play(async |node| {
            let mut session = node.session(None, 5).await;
            session.send(0, [node.delivery(5, 0), node.delivery(5, 1)]).await;
            session.close(4503).await;
            let mut session = node.session(Some(2), 6).await;
            session.send(0, [node.delivery(6, 2)]).await;
            session.taken().await;
        })
        .await;
    assert_eq!(missing(&account, 3), [0; 0]);
    assert_eq!(account.findings.closes.into_iter().collect::<Vec<_>>(), [(4503, 1)]);
    assert_eq!((account.findings.repeated, account.findings.resumes, account.ended), (0, 1, None));
}

#[tokio::test]
async fn repeated_and_missing_deliveries_are_found() {
    let account = Scene::new("")
        .await
        .play(async |node| {
            let mut session = node.session(None, 5).await;
            session.send(0, [0, 1, 1, 4].map(|offset| node.delivery(5, offset))).await;
            session.taken().await;
            drop(session);
            let mut session = node.session(Some(5), 5).await;
            session.send(0, [node.delivery(5, 4), node.delivery(9, 5)]).await;
            session.taken().await;
        })
        .await;
    assert_eq!(missing(&account, 5), [2, 3]);
    assert_eq!((account.findings.repeated, account.findings.corrupt), (2, 1));
    assert_eq!(account.findings.closes.into_iter().collect::<Vec<_>>(), [(1006, 1)]);
}

#[tokio::test]
async fn after_a_goaway_the_next_session_opens_before_the_old_one_closes() {
    let account = Scene::new("")
        .await
        .play(async |node| {
            let mut old = node.session(None, 5).await;
            let goaway = Goaway { retry_after_ms: 10, deadline_ms: 10_000, detail: String::new() };
            old.send(0, [node.delivery(5, 0), frame::Frame::Goaway(goaway), node.delivery(5, 1)]).await;
            // Deliveries that arrive before the client has moved also advance the position.
            old.taken().await;
            let mut new = node.session(Some(2), 1).await;
            new.send(0, [node.delivery(1, 2)]).await;
            new.taken().await;
        })
        .await;
    assert_eq!(missing(&account, 3), [0; 0]);
    assert_eq!((account.findings.moves, account.findings.resumes, account.findings.closes.len()), (1, 1, 0));
}

#[tokio::test]
async fn a_subscription_is_restarted_when_partitions_are_added() {
    let account = Scene::new("")
        .await
        .play(async |node| {
            let mut session = node.session(None, 5).await;
            let mut ended = Unsubscribed { alias: 5, ..Unsubscribed::default() };
            ended.set_reason(v1::UnsubscribeReason::PartitionsAdded);
            session.send(0, [node.delivery(5, 0), frame::Frame::Unsubscribed(ended)]).await;
            let again = session.receive().await;
            let Some(Command::Subscribe(subscribe)) = &again.command else { panic!("{again:?}") };
            assert_eq!(asked(subscribe), Some(1));
            session.subscribed(again.id, 8, 1).await;
            session.send(0, [node.delivery(8, 1)]).await;
            session.taken().await;
        })
        .await;
    assert_eq!(missing(&account, 2), [0; 0]);
    assert_eq!(account.findings.resumes, 0);
}

#[tokio::test]
async fn a_silent_node_is_abandoned() {
    let account = Scene::new("")
        .await
        .play(async |node| {
            node.heartbeat_ms.set(100);
            let mut silent = node.session(None, 5).await;
            silent.send(0, [node.delivery(5, 0)]).await;
            node.heartbeat_ms.set(10_000);
            let mut next = node.session(Some(1), 1).await;
            next.send(0, [node.delivery(1, 1)]).await;
            next.taken().await;
        })
        .await;
    assert_eq!(missing(&account, 2), [0; 0]);
    assert_eq!((account.findings.silences, account.findings.closes.len()), (1, 0));
}

#[tokio::test]
async fn a_final_close_code_ends_the_connection() {
    let account = Scene::new("").await.play(async |node| node.session(None, 5).await.close(4409).await).await;
    // The end of the run and of the connection race; the close is counted in either case.
    assert_eq!(account.findings.closes.into_iter().collect::<Vec<_>>(), [(4409, 1)]);
}

#[tokio::test]
async fn skips_of_a_conflated_subscription_are_counted_and_move_its_position() {
    let account = Scene::new("--mode conflated")
        .await
        .play(async |node| {
            let mut session = node.session(None, 5).await;
            let mut skipped =
                Skipped { alias: 5, first_offset: 0, next_offset: 9, records: 4, ..Skipped::default() };
            skipped.set_reason(v1::SkipReason::Conflated);
            session.send(0, [node.delivery(5, 4), frame::Frame::Skipped(skipped)]).await;
            session.taken().await;
            drop(session);
            node.session(Some(9), 5).await.taken().await;
        })
        .await;
    let Records::Conflated { keys, skipped } = &account.channels[0].records else {
        panic!("it is conflated")
    };
    assert_eq!((keys[0].next, keys[0].deliveries, *skipped), (5, 1, 4));
    assert_eq!(account.findings.repeated, 0);
}
