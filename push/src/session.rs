//! One client's stay on this node: one WebSocket, its subscriptions, and the loop that serves them.
//!
//! A session has no queue of deliveries. When its socket has taken the last message it gathers what its cursors have not
//! handed out and writes that as one message; while the socket takes nothing, its cursors fall behind, and nothing grows.
//!
//! The loop has no rules: commands are parsed in `command` and carried out in `commands`, subscriptions find their start in
//! `start`, cursors hand out in `subscriptions`, deadlines are in `liveness`, lanes in `outbox`.

mod close;
mod command;
mod commands;
mod duties;
mod inbound;
mod liveness;
mod outbox;
mod reply;
mod start;
mod subscriptions;
mod waiting;
pub(crate) mod websocket;

#[cfg(feature = "benchmarks")]
pub(crate) mod by_hand;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Instant};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tailcast_proto::{Channel, delivery::Format, push::v1};
use tailcast_services::lifecycle::Lifecycle;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::{close::CloseReason, liveness::Timing, start::Starter, waiting::WaitingBudget};
use self::{
    command::{Refusal, Request},
    inbound::{Inbound, InboundReader, Violation},
    liveness::Liveness,
    outbox::{Outbox, WriteError},
    start::Started,
    subscriptions::{Event as SubscriptionEvent, Subscriptions},
    websocket::OpCode,
};
use crate::{
    catch_up::{CatchUp, Page, PageError},
    config::Config,
    cursor::Turn,
    doorbell::{CursorId, Doorbell},
    metrics::{SessionMetrics, wall_clock_ms},
    server::admission::Admission,
};

/// What all sessions of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) node: String,
    pub(crate) starter: Starter,
    pub(crate) catch_up: CatchUp,
    pub(crate) metrics: SessionMetrics,
    pub(crate) waiting: WaitingBudget,
    pub(crate) admission: Admission,
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
    /// A heartbeat is due, and waits until the message that has begun is written.
    heartbeat_due: bool,
}

type PageAnswer = (CursorId, u64, Result<Arc<Page>, PageError>);

/// What wakes a session.
enum Event {
    Drain,
    Inbound(Result<Inbound, Violation>),
    Tick,
    Written(Result<(), WriteError>),
    Started(Box<(Request, Result<Started, Refusal>)>),
    Page(PageAnswer),
    News,
}

impl<W: AsyncWrite + Unpin> Session<W> {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, format: Format, writer: W) -> Self {
        let sessions = &shared.config.sessions;
        let liveness = Liveness::new(Timing::from(sessions), Instant::now(), fastrand::f64());
        let doorbell = Arc::new(Doorbell::default());
        Self {
            outbox: Outbox::new(sessions, shared.waiting.waiting()),
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

    /// Serves the client until one of the two ends it, and sends the close frame. Gives the writer back if the client took
    /// it: then the connection is still to be read to its end.
    ///
    /// Boxed, because a future has what it was given twice: as an argument, and where it uses it.
    pub(crate) async fn run(mut self: Box<Self>, reader: impl AsyncRead + Unpin) -> (CloseReason, Option<W>) {
        let mut reader = InboundReader::new(reader, self.shared.config.sessions.message_bytes_max);
        let reason = self.serve(&mut reader).await;
        self.shared.metrics.subscriptions.dec_by(i64::try_from(self.subscriptions.len()).unwrap_or(i64::MAX));
        let is_told = self.close(&reason).await;
        (reason, is_told.then_some(self.writer))
    }

    async fn serve(&mut self, reader: &mut InboundReader<impl AsyncRead + Unpin>) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        let mut draining = pin!(shared.lifecycle.draining());
        let mut timer = pin!(tokio::time::sleep_until(self.liveness.next().into()));
        loop {
            self.fill_outbox();
            let next = self.next_tick();
            if timer.deadline() != next.into() {
                timer.as_mut().reset(next.into());
            }
            let event = tokio::select! {
                // Not biased: there may be no end of data, and no end of what a client says, and neither may hold up the
                // other, the deadlines or the drain.
                () = &mut draining, if !self.is_draining => Event::Drain,
                message = reader.next(), if self.outbox.has_room() => Event::Inbound(message),
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
            // Nothing is lost that this client had, and it should not begin here.
            Event::Drain if !self.is_connected => return Err(CloseReason::Draining),
            Event::Drain => self.drain(),
            // It has nothing here yet that it would lose.
            Event::Inbound(Ok(_)) if !self.is_connected && self.shared.admission.is_closed() => {
                return Err(CloseReason::NodeFull);
            }
            Event::Inbound(Ok(message)) => return self.take_message(message),
            Event::Inbound(Err(Violation { code, why })) => return Err(CloseReason::WebSocket { code, why }),
            Event::Tick => return self.tick(),
            Event::Written(Ok(())) => self.liveness.written(Instant::now()),
            Event::Written(Err(WriteError::Lost(_))) => return Err(CloseReason::Lost),
            Event::Written(Err(WriteError::NoRoom(_))) => return Err(CloseReason::NoRoom),
            Event::Started(started) => self.started(*started),
            Event::Page((cursor, serial, page)) => {
                let event =
                    self.subscriptions.take_page(cursor, serial, page.as_ref().map_err(|error| *error));
                self.tell(event);
            }
            Event::News => {
                let events = self.subscriptions.take_news();
                self.tell(events);
            }
        }
        Ok(())
    }

    /// When there is something to do without being told.
    fn next_tick(&self) -> Instant {
        let liveness = self.liveness.next();
        self.subscriptions.next_due().map_or(liveness, |due| due.min(liveness))
    }

    /// Gathers the next message once the last one is written, and asks for the pages that cursors need.
    fn fill_outbox(&mut self) {
        let now = Instant::now();
        if self.outbox.wants_message() {
            self.gather();
            if self.heartbeat_due {
                // Written behind the message that was just gathered, so what it says of progress is true when it arrives.
                self.heartbeat();
            }
        }
        while let Some(wish) = self.subscriptions.next_wish() {
            let catch_up = self.shared.catch_up.clone();
            let answer =
                async move { (wish.cursor, wish.serial, catch_up.page(wish.partition, wish.offset).await) };
            self.pages.push(Box::pin(answer));
        }
        if self.outbox.take_progress() {
            self.liveness.progressed(now);
        }
        if !self.outbox.is_empty() {
            self.liveness.blocked(now);
        }
    }

    /// Makes one message of what the cursors have not handed out.
    fn gather(&mut self) {
        let budget = self.outbox.message_budget();
        let turn = Turn { budget, is_behind: self.outbox.was_blocked(), now: Instant::now() };
        let mut batch = self.subscriptions.gather(turn);
        if batch.bytes == 0 {
            self.outbox.has_caught_up();
            return;
        }
        let metrics = &self.shared.metrics;
        metrics.deliveries.inc_by(batch.deliveries);
        metrics.conflated.inc_by(batch.conflated);
        metrics.messages.inc();
        metrics.bytes.inc_by(batch.bytes as u64);
        if let Some(timestamp_ms) = batch.timestamp_ms.filter(|timestamp_ms| *timestamp_ms >= 0) {
            metrics.latency.observe(seconds_since(timestamp_ms));
        }
        if self.format == Format::Json {
            trim_last_line_end(&mut batch);
        }
        self.outbox.push_message(self.opcode(), batch.bytes, batch.parts);
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
