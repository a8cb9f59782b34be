//! What a session does without being asked: pings, heartbeats, leaving.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tailcast_proto::push::v1;

use super::{
    CloseReason, Session, Writer, reply,
    rules::liveness::Due,
    websocket::{self, OpCode},
};
use crate::clock::wall_clock_ms;

/// How long the socket may take for what waits, the positions and the close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

impl<W: Writer> Session<W> {
    pub(super) fn tick(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        self.subscriptions.wake_due(now);
        if self.outbox.take_progress() {
            self.liveness.progressed(now);
        }
        while let Some(due) = self.liveness.due(now, fastrand::f64()) {
            match due {
                Due::Ping => self.ping(now),
                // Before a heartbeat everything that is there: then its progress says the most.
                Due::Heartbeat if self.is_too_far_behind() => return Err(CloseReason::Behind),
                Due::Heartbeat => self.subscriptions.look_at_all(),
                Due::NotConnected => return Err(CloseReason::NotConnected),
                Due::NoPong => return Err(CloseReason::NoPong),
                Due::SlowConsumer => return Err(CloseReason::SlowConsumer),
                Due::Leave => return Err(CloseReason::Draining),
            }
        }
        Ok(())
    }

    /// Has a heartbeat that would be due soon go with what is about to be gathered. Returns whether nothing else is due, which
    /// would be the task's and stays due for it.
    ///
    /// Not where what is about to be gathered looks like a lag: that is judged at the heartbeat's own time.
    pub(super) fn take_along(&mut self, now: Instant) -> bool {
        if self.is_too_far_behind() || !self.liveness.hurry(now) {
            return true;
        }
        while let Some(due) = self.liveness.due(now, fastrand::f64()) {
            match due {
                Due::Ping => self.ping(now),
                Due::Heartbeat => self.subscriptions.look_at_all(),
                Due::NotConnected | Due::NoPong | Due::SlowConsumer | Due::Leave => return false,
            }
        }
        true
    }

    fn ping(&mut self, now: Instant) {
        let ping = websocket::frame(OpCode::Ping, &[]);
        if self.liveness.is_heartbeat_due() && self.outbox.wants_message() {
            self.gather(now);
            self.heartbeat();
            self.outbox.push_behind(ping);
        } else {
            self.outbox.push_control(ping);
        }
    }

    fn is_too_far_behind(&self) -> bool {
        let most = self.shared.config.sessions.lag_records_max;
        most > 0 && self.subscriptions.is_behind(most)
    }

    /// Puts a heartbeat behind the message that was just gathered, so what it says of progress is true when it arrives.
    pub(super) fn heartbeat(&mut self) {
        self.liveness.heartbeat_written();
        let now_ms = wall_clock_ms();
        let lag = self.subscriptions.lag(now_ms);
        let heartbeat = v1::Heartbeat {
            server_time_ms: now_ms,
            lag_records: lag.records,
            lag_ms: lag.ms,
            progress: self.subscriptions.progress(),
        };
        let message = self.message(0, v1::frame::Frame::Heartbeat(heartbeat));
        self.outbox.push_behind(message);
    }

    /// Asks the client to leave, at a moment of its own within the spread.
    pub(super) fn drain(&mut self) {
        let spread = self.shared.config.drain.spread;
        let retry_after = spread.mul_f64(fastrand::f64());
        // Some time to leave by itself after it was told to; and not all at the same moment.
        let leave_after = retry_after + spread / 10;
        self.liveness.leave_by(Instant::now() + leave_after);
        let goaway = reply::goaway(retry_after, leave_after);
        self.reply(0, v1::frame::Frame::Goaway(goaway));
    }

    /// Sends the close frame behind what waits, and nothing after it. Returns whether the client took it.
    pub(super) async fn close(session: &Mutex<Self>, reason: &CloseReason) -> bool {
        if !session.lock().begin_close(reason) {
            return false;
        }
        let closing = async {
            let is_written = poll_fn(|context| session.lock().poll_flush(context)).await.is_ok();
            if is_written {
                // The connection ends either way.
                drop(poll_fn(|context| session.lock().poll_shutdown(context)).await);
            }
            is_written
        };
        // A client that does not take its close frame is left behind.
        tokio::time::timeout(CLOSE_WAIT, closing).await.unwrap_or(false)
    }

    /// Puts the close frame behind what waits. A client that is to resume is told before where its subscriptions were:
    /// everything before that is written. Returns whether there is somebody to tell.
    fn begin_close(&mut self, reason: &CloseReason) -> bool {
        self.check_whole();
        self.liveness.closed();
        self.shared.metrics.subscriptions.dec_by(i64::try_from(self.subscriptions.len()).unwrap_or(i64::MAX));
        if *reason == CloseReason::Lost {
            return false;
        }
        if reason.asks_to_resume() {
            for unsubscribed in self.subscriptions.close() {
                self.reply(0, v1::frame::Frame::Unsubscribed(unsubscribed));
            }
        }
        self.outbox.close(websocket::close(reason.code(), &reason.text()));
        true
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
