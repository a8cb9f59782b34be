//! A session's task: it waits for events, hands them to the rules, and carries out what those
//! return.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::io::AsyncRead;

use super::{
    CloseReason, Session, Sessions, Writer,
    inbound::{Inbound, InboundReader, Violation},
    outbox::WriteError,
    rules::{Ending, Event, Moment, Socket},
    websocket,
};
use crate::wake::doorbell::Doorbell;

/// What the task waits for.
enum Wake {
    Drain,
    Inbound(Result<Inbound, Violation>),
    Alarm,
    Ready(Event),
    Written,
    Doorbell,
}

/// What the task waits for beside the doorbell and the session's own futures.
struct Waits {
    alarm: Instant,
    /// There is room for the replies to more commands.
    reads: bool,
    drains: bool,
}

/// How long the socket may take for the rest of the outbox, the positions and the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl<W: Writer> Session<W> {
    /// Serves the client until one of the two ends the session, and sends the close frame. Returns
    /// the reader if the client took the frame: then the connection is still to be read to its end.
    ///
    /// Boxed, because a future has its arguments twice: as they were given, and where it uses them.
    pub(crate) async fn run<R: AsyncRead + Unpin>(
        self: Box<Self>,
        reader: R,
        sessions: &Sessions,
    ) -> (CloseReason, Option<R>) {
        let doorbell = Arc::clone(self.rules.doorbell());
        let mut reader = InboundReader::new(reader, sessions.policy.sessions().message_bytes_max);
        // A lock that remembers a panic: after one in a thread of the fan-out, the session goes no
        // further.
        let session = Arc::new(Mutex::new(*self));
        let served = Arc::downgrade(&session);
        doorbell.set_session(served);
        let reason = Self::serve(&session, sessions, &doorbell, &mut reader).await;
        let is_sent = Self::close(&session, &reason).await;
        (reason, is_sent.then(|| reader.into_stream()))
    }

    async fn serve(
        session: &Mutex<Self>,
        sessions: &Sessions,
        doorbell: &Doorbell,
        reader: &mut InboundReader<impl AsyncRead + Unpin>,
    ) -> CloseReason {
        let mut draining = pin!(sessions.lifecycle.draining());
        let mut timer = pin!(tokio::time::sleep_until(lock(session).alarm.into()));
        let mut at = Moment::now();
        loop {
            let waits = lock(session).proceed(at);
            if timer.deadline() != waits.alarm.into() {
                timer.as_mut().reset(waits.alarm.into());
            }
            let wake = tokio::select! {
                // Not biased: there may be no end of data, and no end of commands, and neither may
                // hold up the other, the deadlines or the drain.
                () = &mut draining, if waits.drains => Wake::Drain,
                message = reader.next(), if waits.reads => Wake::Inbound(message),
                () = &mut timer => Wake::Alarm,
                wake = poll_fn(|context| lock(session).poll(context)) => wake,
                () = doorbell.rung() => Wake::Doorbell,
            };
            at = Moment::now();
            if let Err(reason) = lock(session).apply(wake, at, sessions) {
                return reason;
            }
        }
    }

    /// Does what can be done at once. Returns what to wait for.
    fn proceed(&mut self, at: Moment) -> Waits {
        self.fill_outbox(at);
        self.alarm = self.rules.alarm_at(&self.clock);
        Waits { alarm: self.alarm, reads: self.outbox.has_room(), drains: self.rules.awaits_drain() }
    }

    /// Polls the starts, the pages, and the message that is being written.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(Some(started)) = self.starts.poll_next_unpin(context) {
            return Poll::Ready(Wake::Ready(Event::Started(Box::new(started))));
        }
        if let Poll::Ready(Some(page)) = self.pages.poll_next_unpin(context) {
            return Poll::Ready(Wake::Ready(Event::Page(page)));
        }
        if self.outbox.is_empty() {
            return Poll::Pending;
        }
        self.poll_flush(context).map(|written| match written {
            Ok(()) => Wake::Written,
            Err(WriteError::Lost(_)) => Wake::Ready(Event::Lost),
            Err(WriteError::NoRoom(_)) => Wake::Ready(Event::NoRoom),
        })
    }

    fn apply(&mut self, wake: Wake, at: Moment, sessions: &Sessions) -> Result<(), CloseReason> {
        let event = match wake {
            Wake::Drain => Event::Drain,
            Wake::Inbound(Ok(message)) => {
                Event::Inbound { message, is_node_full: sessions.admission.is_closed() }
            }
            Wake::Inbound(Err(violation)) => Event::Violation(violation),
            Wake::Alarm => {
                self.report_progress(at.now);
                Event::Alarm { room: self.outbox.room() }
            }
            Wake::Ready(event) => event,
            Wake::Written => {
                self.rules.socket(Socket::Written, at.now);
                return Ok(());
            }
            Wake::Doorbell => Event::WakeUp,
        };
        self.handle(event, at)
    }

    /// Sends the close frame behind the rest of the outbox, and nothing after it. Returns whether
    /// the client took it.
    async fn close(session: &Mutex<Self>, reason: &CloseReason) -> bool {
        if lock(session).begin_close(reason) == Ending::Silent {
            return false;
        }
        let closing = async {
            let is_written = poll_fn(|context| lock(session).poll_flush(context)).await.is_ok();
            if is_written {
                // The connection ends either way.
                drop(poll_fn(|context| lock(session).poll_shutdown(context)).await);
            }
            is_written
        };
        // A client that does not take its close frame is left behind.
        tokio::time::timeout(CLOSE_TIMEOUT, closing).await.unwrap_or(false)
    }

    fn begin_close(&mut self, reason: &CloseReason) -> Ending {
        let left = i64::try_from(self.rules.subscriptions()).unwrap_or(i64::MAX);
        self.metrics.subscriptions.dec_by(left);
        let mut actions = Vec::new();
        let ending = self.rules.close(reason, &mut actions);
        self.carry_out(actions, Moment::now());
        if let Ending::CloseFrame { code, reason } = &ending {
            self.outbox.close(websocket::close(*code, reason));
        }
        ending
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

/// Locks a session for its task.
///
/// # Panics
///
/// Where the session panicked in a thread of the fan-out: what left a cursor and was not written
/// would be a gap.
fn lock<W>(session: &Mutex<Session<W>>) -> MutexGuard<'_, Session<W>> {
    session.lock().expect("the session did not panic in a thread of the fan-out")
}
