//! One client's stay on this node: one WebSocket, its subscriptions, and the loop that serves them.
//!
//! A session has no queue of deliveries. When its socket has taken the last message it gathers what its cursors have not
//! handed out and writes that as one message; while the socket takes nothing, its cursors fall behind, and nothing grows.
//!
//! The loop has no rules: commands are parsed in `command`, subscriptions find their start in `start`, cursors hand out
//! in `subscriptions`, deadlines are in `liveness`, lanes in `outbox`.

mod close;
mod command;
mod inbound;
mod liveness;
mod outbox;
mod reply;
mod start;
mod subscriptions;
pub(crate) mod websocket;

use std::{collections::HashMap, io, pin::pin, sync::Arc, time::Instant};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tailcast_proto::{
    Channel,
    delivery::Format,
    push::v1::{self, ErrorCode, UnsubscribeReason, client_message::Command},
};
use tailcast_services::lifecycle::Lifecycle;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

pub(crate) use self::{close::CloseReason, liveness::Timing, start::Starter};
use self::{
    command::{Refusal, Request, Target},
    inbound::{Inbound, InboundReader, Violation},
    liveness::{Due, Liveness},
    outbox::Outbox,
    start::Started,
    subscriptions::{Event as SubscriptionEvent, Subscriptions},
    websocket::OpCode,
};
use crate::{
    catch_up::{CatchUp, Page, PageError},
    channel_log::Encoding,
    config::Config,
    doorbell::{CursorId, Doorbell},
    metrics::{SessionMetrics, wall_clock_ms},
};

/// What all sessions of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) node: String,
    pub(crate) starter: Starter,
    pub(crate) catch_up: CatchUp,
    pub(crate) metrics: SessionMetrics,
    pub(crate) lifecycle: Lifecycle,
}

/// One client's stay on this node.
pub(crate) struct Session<W> {
    shared: Arc<Shared>,
    id: u64,
    format: Format,
    writer: W,
    outbox: Outbox,
    liveness: Liveness,
    doorbell: Arc<Doorbell>,
    subscriptions: Subscriptions,
    /// Subscriptions that look for their start; with the id of the `Unsubscribe` that overtook them.
    starting: HashMap<Channel, Option<u32>>,
    starts: FuturesUnordered<BoxFuture<'static, (Request, Result<Started, Refusal>)>>,
    pages: FuturesUnordered<BoxFuture<'static, PageAnswer>>,
    is_connected: bool,
    is_draining: bool,
    /// A heartbeat is due, and waits until everything that was gathered is written.
    heartbeat_due: bool,
}

type PageAnswer = (CursorId, u64, Result<Arc<Page>, PageError>);

/// What wakes a session.
enum Event {
    Drain,
    Inbound(Result<Inbound, Violation>),
    Tick,
    Written(io::Result<()>),
    Started(Box<(Request, Result<Started, Refusal>)>),
    Page(PageAnswer),
    News,
}

/// How long a session waits for the client's half of the closing handshake.
const CLOSE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

impl<W: AsyncWrite + Unpin> Session<W> {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, format: Format, writer: W) -> Self {
        let sessions = &shared.config.sessions;
        let liveness = Liveness::new(Timing::from(sessions), Instant::now(), fastrand::f64());
        let doorbell = Arc::new(Doorbell::default());
        Self {
            outbox: Outbox::new(sessions.replies_bytes_max),
            id,
            format,
            writer,
            liveness,
            subscriptions: Subscriptions::new(Arc::clone(&doorbell)),
            doorbell,
            starting: HashMap::new(),
            starts: FuturesUnordered::new(),
            pages: FuturesUnordered::new(),
            is_connected: false,
            is_draining: false,
            heartbeat_due: false,
            shared,
        }
    }

    /// Serves the client until one of the two ends it, and closes the connection.
    pub(crate) async fn run(mut self, reader: impl AsyncRead + Unpin) -> CloseReason {
        let mut reader = InboundReader::new(reader, self.shared.config.sessions.message_bytes_max);
        let reason = self.serve(&mut reader).await;
        self.shared.metrics.subscriptions.dec_by(i64::try_from(self.subscriptions.len()).unwrap_or(i64::MAX));
        self.close(&reason, reader).await;
        reason
    }

    async fn serve(&mut self, reader: &mut InboundReader<impl AsyncRead + Unpin>) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        let mut draining = pin!(shared.lifecycle.draining());
        let mut timer = pin!(tokio::time::sleep_until(self.liveness.next().into()));
        let mut inbound = pin!(read_next(reader));
        loop {
            self.fill_outbox();
            if timer.deadline() != self.liveness.next().into() {
                timer.as_mut().reset(self.liveness.next().into());
            }
            let event = tokio::select! {
                // Draining and the client's own words first: data, of which there may be no end, holds neither up.
                biased;
                () = &mut draining, if !self.is_draining => Event::Drain,
                (reader, message) = &mut inbound, if self.outbox.has_room() => {
                    inbound.set(read_next(reader));
                    Event::Inbound(message)
                }
                () = &mut timer => Event::Tick,
                result = self.outbox.flush(&mut self.writer), if !self.outbox.is_empty() => Event::Written(result),
                Some(started) = self.starts.next() => Event::Started(Box::new(started)),
                Some(page) = self.pages.next() => Event::Page(page),
                () = self.doorbell.rung() => Event::News,
            };
            if let Err(reason) = self.apply(event) {
                return reason;
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), CloseReason> {
        match event {
            Event::Drain => self.drain(),
            Event::Inbound(Ok(message)) => return self.take_message(message),
            Event::Inbound(Err(Violation { code, why })) => return Err(CloseReason::WebSocket { code, why }),
            Event::Tick => return self.tick(),
            Event::Written(Ok(())) => self.liveness.written(),
            Event::Written(Err(_)) => return Err(CloseReason::Lost),
            Event::Started(started) => self.started(*started),
            Event::Page((cursor, serial, page)) => {
                let event = self.subscriptions.take_page(cursor, serial, page);
                self.tell(event);
            }
            Event::News => {
                let events = self.subscriptions.take_news();
                self.tell(events);
            }
        }
        Ok(())
    }

    /// Gathers the next message once the last one is written, and asks for the pages that cursors need.
    fn fill_outbox(&mut self) {
        if self.outbox.wants_message() && self.subscriptions.is_ready() {
            let mut batch = self.subscriptions.gather(self.shared.config.sessions.batch_bytes_max);
            if batch.deliveries > 0 {
                let metrics = &self.shared.metrics;
                metrics.deliveries.inc_by(batch.deliveries);
                metrics.messages.inc();
                metrics.bytes.inc_by(batch.bytes as u64);
                if let Some(timestamp_ms) = batch.timestamp_ms {
                    metrics.latency.observe(seconds_since(timestamp_ms));
                }
                if self.format == Format::Json {
                    trim_last_line_end(&mut batch);
                }
                self.outbox.push_message(self.opcode(), batch.bytes, batch.parts);
            }
        }
        while let Some(wish) = self.subscriptions.next_wish() {
            let catch_up = self.shared.catch_up.clone();
            let answer =
                async move { (wish.cursor, wish.serial, catch_up.page(wish.partition, wish.offset).await) };
            self.pages.push(Box::pin(answer));
        }
        if self.heartbeat_due && self.outbox.is_empty() {
            self.heartbeat();
        }
        if !self.outbox.is_empty() {
            self.liveness.blocked(Instant::now());
        }
    }

    fn take_message(&mut self, message: Inbound) -> Result<(), CloseReason> {
        self.liveness.heard();
        let bytes = match (message, self.format) {
            (Inbound::Ping(payload), _) => {
                self.outbox.push_pong(&payload);
                return Ok(());
            }
            (Inbound::Pong, _) => return Ok(()),
            (Inbound::Close(code), _) => return Err(CloseReason::Client(code)),
            (Inbound::End, _) => return Err(CloseReason::Lost),
            (Inbound::Binary(bytes), Format::Proto) | (Inbound::Text(bytes), Format::Json) => bytes,
            (Inbound::Text(_), Format::Proto) => return Err(CloseReason::WrongType { expected: "binary" }),
            (Inbound::Binary(_), Format::Json) => return Err(CloseReason::WrongType { expected: "text" }),
        };
        let commands = command::decode(self.format, &bytes).map_err(CloseReason::NotAMessage)?;
        commands.into_iter().try_for_each(|command| self.take_command(command))
    }

    fn take_command(&mut self, message: v1::ClientMessage) -> Result<(), CloseReason> {
        let id = message.id;
        let Some(command) = message.command else {
            self.refuse(id, 0, Refusal::unsupported("command", "this node knows no such command"));
            return Ok(());
        };
        match (self.is_connected, command::is_connect(&command)) {
            (false, false) => return Err(CloseReason::State("the first command has to be connect")),
            (true, true) => return Err(CloseReason::State("this session is connected already")),
            _ => {}
        }
        match command {
            Command::Connect(connect) => self.connect(id, connect),
            Command::Subscribe(subscribe) => self.subscribe(id, 0, subscribe),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(id, unsubscribe),
            Command::Refresh(_) => self.reply(id, v1::frame::Frame::Refreshed(v1::Refreshed::default())),
            Command::Pong(v1::Pong {}) => {}
        }
        Ok(())
    }

    fn connect(&mut self, id: u32, connect: v1::Connect) {
        if let Err(refusal) = command::check_connect(&connect) {
            return self.refuse(id, 0, refusal);
        }
        self.is_connected = true;
        self.liveness.connected(Instant::now());
        tracing::debug!(
            session = self.id,
            client = connect.client_name,
            version = connect.client_version,
            "connected"
        );
        let connected = reply::connected(&self.shared.node, self.id, &self.shared.config.sessions);
        self.reply(id, v1::frame::Frame::Connected(connected));
        for (index, subscribe) in (0..).zip(connect.subscriptions) {
            self.subscribe(id, index, subscribe);
        }
    }

    fn subscribe(&mut self, id: u32, index: u32, subscribe: v1::Subscribe) {
        let request = match command::parse_subscribe(id, index, subscribe) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(id, index, refusal),
        };
        let most = self.shared.config.sessions.subscriptions_max;
        if self.subscriptions.len() + self.starting.len() >= most {
            let detail = format!("a session has at most {most} subscriptions here; open another one");
            return self.refuse(id, index, Refusal::new(ErrorCode::TooManySubscriptions, detail));
        }
        if self.starting.contains_key(&request.channel) || self.subscriptions.has(&request.channel) {
            let detail = format!("this session is subscribed to {} already", request.channel);
            return self.refuse(id, index, Refusal::new(ErrorCode::AlreadySubscribed, detail));
        }
        self.starting.insert(request.channel.clone(), None);
        self.starts.push(Box::pin(self.shared.starter.clone().start(request)));
    }

    fn started(&mut self, (request, started): (Request, Result<Started, Refusal>)) {
        let overtaken = self.starting.remove(&request.channel).flatten();
        let started = match started {
            Ok(started) => started,
            Err(refusal) => {
                if let Some(unsubscribe) = overtaken {
                    self.refuse(unsubscribe, 0, not_subscribed());
                }
                return self.refuse(request.id, request.index, refusal);
            }
        };
        self.shared.metrics.subscriptions.inc();
        let encoding = Encoding { format: self.format, headers: request.headers };
        let (outcome, lost) = (started.outcome, started.lost.clone());
        self.shared.metrics.retention_losses.inc_by(lost.len() as u64);
        let (alias, position) = self.subscriptions.add(started, encoding);
        let subscribed = reply::subscribed(&request, alias, &position, outcome, lost);
        self.reply(request.id, v1::frame::Frame::Subscribed(subscribed));
        if let Some(unsubscribe) = overtaken {
            self.end(unsubscribe, alias);
        }
    }

    fn unsubscribe(&mut self, id: u32, unsubscribe: v1::Unsubscribe) {
        let alias = match command::parse_unsubscribe(unsubscribe) {
            Err(refusal) => return self.refuse(id, 0, refusal),
            Ok(Target::Alias(alias)) => Some(alias),
            Ok(Target::Channel(channel)) => {
                if let Some(overtaken @ None) = self.starting.get_mut(&channel) {
                    *overtaken = Some(id);
                    return;
                }
                self.subscriptions.alias_of(&channel)
            }
        };
        match alias {
            Some(alias) => self.end(id, alias),
            None => self.refuse(id, 0, not_subscribed()),
        }
    }

    fn end(&mut self, id: u32, alias: u32) {
        match self.subscriptions.remove(alias, UnsubscribeReason::Requested) {
            Some(unsubscribed) => {
                self.shared.metrics.subscriptions.dec();
                self.reply(id, v1::frame::Frame::Unsubscribed(unsubscribed));
            }
            None => self.refuse(id, 0, not_subscribed()),
        }
    }

    /// Tells the client what happened to its subscriptions.
    fn tell(&mut self, events: impl IntoIterator<Item = SubscriptionEvent>) {
        for event in events {
            let frame = match event {
                SubscriptionEvent::Skipped(skipped) => {
                    self.shared.metrics.retention_losses.inc();
                    v1::frame::Frame::Skipped(skipped)
                }
                SubscriptionEvent::Ended(unsubscribed) => {
                    self.shared.metrics.subscriptions.dec();
                    v1::frame::Frame::Unsubscribed(unsubscribed)
                }
            };
            self.reply(0, frame);
        }
    }

    fn tick(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        while let Some(due) = self.liveness.due(now, fastrand::f64()) {
            match due {
                Due::Ping => self.outbox.push_control(websocket::frame(OpCode::Ping, &[])),
                Due::Heartbeat => {
                    // First everything that is there: then the progress says the most.
                    self.subscriptions.look_at_all();
                    self.heartbeat_due = true;
                }
                Due::NotConnected => return Err(CloseReason::NotConnected),
                Due::NoPong => return Err(CloseReason::NoPong),
                Due::SlowConsumer => return Err(CloseReason::SlowConsumer),
                Due::Leave => return Err(CloseReason::Draining),
            }
        }
        Ok(())
    }

    fn heartbeat(&mut self) {
        self.heartbeat_due = false;
        let now_ms = wall_clock_ms();
        let lag = self.subscriptions.lag(now_ms);
        let heartbeat = v1::Heartbeat {
            server_time_ms: now_ms,
            lag_records: lag.records,
            lag_ms: lag.ms,
            progress: self.subscriptions.progress(),
        };
        self.reply(0, v1::frame::Frame::Heartbeat(heartbeat));
    }

    /// Asks the client to leave, at a moment of its own within the spread.
    fn drain(&mut self) {
        self.is_draining = true;
        let spread = self.shared.config.drain.spread;
        let retry_after = spread.mul_f64(fastrand::f64());
        let leave_after = spread + spread / 10;
        self.liveness.leave_by(Instant::now() + leave_after);
        let goaway = reply::goaway(retry_after, leave_after);
        self.reply(0, v1::frame::Frame::Goaway(goaway));
    }

    fn refuse(&mut self, id: u32, index: u32, refusal: Refusal) {
        self.shared.metrics.command_errors.get_or_create(&[("code", refusal.code.as_str_name())]).inc();
        self.reply(id, v1::frame::Frame::Error(reply::error(index, refusal)));
    }

    fn reply(&mut self, id: u32, frame: v1::frame::Frame) {
        let payload = reply::encode(id, frame, self.format);
        self.outbox.push_control(websocket::frame(self.opcode(), &payload));
    }

    fn opcode(&self) -> OpCode {
        match self.format {
            Format::Proto => OpCode::Binary,
            Format::Json => OpCode::Text,
        }
    }

    /// Sends the close frame behind what waits, and waits a little for the client's.
    async fn close(&mut self, reason: &CloseReason, mut reader: InboundReader<impl AsyncRead + Unpin>) {
        if *reason == CloseReason::Lost {
            return;
        }
        self.outbox.push_control(websocket::close(reason.code(), &reason.text()));
        let closing = async {
            if self.outbox.flush(&mut self.writer).await.is_err() || self.writer.shutdown().await.is_err() {
                return;
            }
            // Until the client's close frame or its end: closing earlier could lose what it has not read yet.
            while let Ok(inbound) = reader.next().await
                && !matches!(inbound, Inbound::Close(_) | Inbound::End)
            {}
        };
        // A client that does not take its close frame is left behind.
        drop(tokio::time::timeout(CLOSE_WAIT, closing).await);
    }
}

/// Reads one message, and gives the reader back for the next.
async fn read_next<S: AsyncRead + Unpin>(
    reader: &mut InboundReader<S>,
) -> (&mut InboundReader<S>, Result<Inbound, Violation>) {
    let message = reader.next().await;
    (reader, message)
}

fn not_subscribed() -> Refusal {
    Refusal::new(ErrorCode::NotSubscribed, "this session has no such subscription")
}

/// Lines are separated, not ended: the last line end is left out.
fn trim_last_line_end(batch: &mut subscriptions::Batch) {
    if let Some(last) = batch.parts.last_mut()
        && last.ends_with(b"\n")
    {
        last.truncate(last.len() - 1);
        batch.bytes -= 1;
    }
}

fn seconds_since(timestamp_ms: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a latency beyond 2^52 ms is not a figure that anybody reads"
    )]
    let ms = (wall_clock_ms() - timestamp_ms).max(0) as f64;
    ms / 1e3
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}
