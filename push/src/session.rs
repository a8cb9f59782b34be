//! One client's stay on this node: one WebSocket, its subscriptions, and the loop that serves them.
//!
//! A session has no queue of deliveries. When its socket has taken the last message it gathers what its cursors have not
//! handed out and writes that as one message; while the socket takes nothing, its cursors fall behind, and nothing grows.
//!
//! Its task does what takes time: it reads from the client, finds starts, waits for pages, for deadlines and for a socket that
//! takes nothing. When there is something new and the socket takes it, a thread of the [fan-out](crate::wake::fan_out) writes it
//! without the task. Both take the session's lock, and neither waits for the client or for Kafka while it has it.
//!
//! The loop has no rules: commands are parsed in `command` and carried out in `commands`, subscriptions find their start in
//! `start`, cursors hand out in `subscriptions`, deadlines are in `liveness`, lanes in `outbox`.

pub(crate) mod admission;
mod close;
mod commands;
mod duties;
mod handing_out;
mod inbound;
mod outbox;
mod reply;
mod request;
mod rules;
mod start;
mod waiting;
pub(crate) mod websocket;
mod writer;

#[cfg(feature = "benchmarks")]
pub(crate) mod benchmarks;

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tailcast_proto::{Channel, delivery::Format, push::v1};
use tailcast_services::lifecycle::Lifecycle;
use tokio::io::AsyncRead;

pub(crate) use self::{
    close::CloseReason,
    rules::liveness::{Clock, Timing},
    start::Starter,
    waiting::WaitingBudget,
    writer::Writer,
};
use self::{
    inbound::{Inbound, InboundReader, Violation},
    outbox::{Outbox, WriteError},
    request::{Refusal, Request},
    rules::{
        liveness::{Liveness, Phase},
        subscriptions::{Event as SubscriptionEvent, Subscriptions},
    },
    start::Started,
    websocket::OpCode,
};
use crate::{
    config::Config,
    kafka::catch_up::{CatchUp, PageError},
    log::page::Page,
    metrics::SessionMetrics,
    session::admission::Admission,
    wake::doorbell::{CursorId, Doorbell},
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
    pub(crate) clock: Clock,
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
    /// When the task wakes up by itself.
    alarm: Instant,
    /// The fan-out is attending to it; still so afterwards where that panicked.
    is_attended: bool,
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

impl<W: Writer> Session<W> {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, format: Format, writer: W) -> Self {
        let sessions = &shared.config.sessions;
        let liveness = Liveness::new(Timing::from(sessions), Instant::now(), fastrand::f64());
        let doorbell = Arc::new(Doorbell::default());
        Self {
            outbox: Outbox::new(sessions, shared.waiting.waiting()),
            id,
            format,
            writer,
            alarm: liveness.next(),
            liveness,
            subscriptions: Subscriptions::new(Arc::clone(&doorbell)),
            doorbell,
            starting: HashMap::new(),
            starts: FuturesUnordered::new(),
            pages: FuturesUnordered::new(),
            is_attended: false,
            shared,
        }
    }

    /// Serves the client until one of the two ends it, and sends the close frame. Returns the reader if the client took the
    /// frame: then the connection is still to be read to its end.
    ///
    /// Boxed, because a future has what it was given twice: as an argument, and where it uses it.
    pub(crate) async fn run<R: AsyncRead + Unpin>(self: Box<Self>, reader: R) -> (CloseReason, Option<R>) {
        let (shared, doorbell) = (Arc::clone(&self.shared), Arc::clone(&self.doorbell));
        let mut reader = InboundReader::new(reader, shared.config.sessions.message_bytes_max);
        let session = Arc::new(Mutex::new(*self));
        let attended = Arc::downgrade(&session);
        doorbell.lead_to(attended);
        let reason = Self::serve(&session, &shared, &doorbell, &mut reader).await;
        let is_told = Self::close(&session, &reason).await;
        (reason, is_told.then(|| reader.into_stream()))
    }

    async fn serve(
        session: &Mutex<Self>,
        shared: &Shared,
        doorbell: &Doorbell,
        reader: &mut InboundReader<impl AsyncRead + Unpin>,
    ) -> CloseReason {
        let mut draining = pin!(shared.lifecycle.draining());
        let mut timer = pin!(tokio::time::sleep_until(session.lock().alarm.into()));
        loop {
            let (alarm, reads, drains) = session.lock().go_on();
            if timer.deadline() != alarm.into() {
                timer.as_mut().reset(alarm.into());
            }
            let event = tokio::select! {
                // Not biased: there may be no end of data, and no end of what a client says, and neither may hold up the
                // other, the deadlines or the drain.
                () = &mut draining, if drains => Event::Drain,
                message = reader.next(), if reads => Event::Inbound(message),
                () = &mut timer => Event::Tick,
                event = poll_fn(|context| session.lock().poll(context)) => event,
                () = doorbell.rung() => Event::News,
            };
            if let Err(reason) = session.lock().apply(event) {
                return reason;
            }
        }
    }

    /// Does what can be done at once. Returns when the task has to look again, whether it reads from the client, and whether
    /// it has to be told when the node drains.
    fn go_on(&mut self) -> (Instant, bool, bool) {
        self.check_whole();
        self.fill_outbox(Instant::now());
        self.alarm = self.next_tick();
        (self.alarm, self.outbox.has_room(), !matches!(self.liveness.phase(), Phase::Leaving { .. }))
    }

    /// Goes on with what has begun: starts, pages, and the message that is being written.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Some(started)) = self.starts.poll_next_unpin(context) {
            return Poll::Ready(Event::Started(Box::new(started)));
        }
        if let Poll::Ready(Some(page)) = self.pages.poll_next_unpin(context) {
            return Poll::Ready(Event::Page(page));
        }
        if self.outbox.is_empty() { Poll::Pending } else { self.poll_flush(context).map(Event::Written) }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.outbox.poll_flush(context, &mut self.writer)
    }

    fn apply(&mut self, event: Event) -> Result<(), CloseReason> {
        match event {
            // Nothing is lost that this client had, and it should not begin here.
            Event::Drain if self.is_greeting() => return Err(CloseReason::Draining),
            Event::Drain => self.drain(),
            // It has nothing here yet that it would lose.
            Event::Inbound(Ok(_)) if self.is_greeting() && self.shared.admission.is_closed() => {
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

    /// Whether the client has not connected yet.
    fn is_greeting(&self) -> bool {
        matches!(self.liveness.phase(), Phase::Greeting { .. })
    }

    /// When there is something to do without being told.
    fn next_tick(&self) -> Instant {
        let liveness = self.shared.clock.tick(self.liveness.next());
        self.subscriptions.next_due().map_or(liveness, |due| due.min(liveness))
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
        let message = self.message(id, frame);
        self.outbox.push_control(message);
    }

    /// Makes a frame a WebSocket message of its own.
    fn message(&self, id: u32, frame: v1::frame::Frame) -> Bytes {
        let payload = reply::encode(id, frame, self.format);
        websocket::frame(self.opcode(), &payload)
    }

    fn opcode(&self) -> OpCode {
        match self.format {
            Format::Proto => OpCode::Binary,
            Format::Json => OpCode::Text,
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}
