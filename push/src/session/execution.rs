//! How the actions of a session are carried out, by its task and by the threads of the fan-out.

use std::{
    sync::{Mutex, TryLockError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use tailcast_proto::{
    delivery::Format,
    push::v1::{self, UnsubscribeReason},
};

use super::{
    CloseReason, Session, Writer,
    outbox::WriteError,
    reply,
    rules::{Action, Event, Inline, Message, Moment, Socket, subscriptions::Batch},
    websocket::{self, OpCode},
};
use crate::wake::doorbell::Serve;

impl<W: Writer> Session<W> {
    /// Hands an event to the rules, and carries out the actions.
    pub(super) fn handle(&mut self, event: Event, at: Moment) -> Result<(), CloseReason> {
        let mut actions = Vec::new();
        let handled = self.rules.handle(event, at, &mut actions);
        self.carry_out(actions, at);
        handled
    }

    pub(super) fn carry_out(&mut self, actions: Vec<Action>, at: Moment) {
        for action in actions {
            match action {
                Action::Reply { id, frame } => {
                    self.count(&frame);
                    let reply = self.frame(id, frame);
                    self.outbox.push_control(reply);
                }
                Action::Pong(payload) => self.outbox.push_pong(&payload),
                Action::Ping => self.outbox.push_control(websocket::frame(OpCode::Ping, &[])),
                Action::Write(message) => self.write(message, at.wall_ms),
                Action::Start(request) => {
                    self.starts.push(Box::pin(self.sources.clone().start(self.principal.clone(), request)));
                }
            }
        }
    }

    /// Gathers the next message if the last one is written, and requests the pages that cursors
    /// need.
    pub(super) fn fill_outbox(&mut self, at: Moment) {
        if let Some(room) = self.outbox.room() {
            let message = self.rules.message(room, at);
            self.write(message, at.wall_ms);
        }
        while let Some(request) = self.rules.next_page_request() {
            self.pages.push(Box::pin(self.sources.clone().page(self.principal.clone(), request)));
        }
        self.report_progress(at.now);
        if !self.outbox.is_empty() {
            self.rules.socket(Socket::Pending, at.now);
        }
    }

    pub(super) fn report_progress(&mut self, now: Instant) {
        if self.outbox.take_progress() {
            self.rules.socket(Socket::Progressed, now);
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.outbox.poll_flush(context, &mut self.writer)
    }

    /// Delivers new records without waking the task. Returns `false` if the task must continue.
    fn serve_inline(&mut self) -> bool {
        let (at, pages) = (Moment::now(), self.pages.len());
        let room = if self.outbox.is_empty() { self.outbox.room() } else { None };
        let mut actions = Vec::new();
        let inline = self.rules.wake_up_inline(room, at, &mut actions);
        self.carry_out(actions, at);
        match inline {
            Inline::Deliver => self.fill_outbox(at),
            Inline::LeaveToTask => return false,
            Inline::Closed => return true,
        }
        if !self.outbox.is_empty() {
            // No thread of the fan-out is woken when the socket takes more: the task writes what is
            // left, or meets the same error.
            match self.poll_flush(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => self.rules.socket(Socket::Written, at.now),
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        self.pages.len() == pages
            && !self.rules.has_backlog()
            && self.rules.alarm_at(&self.clock) >= self.alarm
    }

    /// Puts a message into the outbox, which has room for it.
    fn write(&mut self, Message { batch, heartbeat, has_ping }: Message, wall_ms: i64) {
        if batch.bytes == 0 {
            self.outbox.has_caught_up();
        } else {
            self.count_batch(&batch, wall_ms);
            self.outbox.push_message(self.opcode(), batch.bytes, batch.parts);
        }
        if let Some(heartbeat) = heartbeat {
            let heartbeat = self.frame(0, v1::frame::Frame::Heartbeat(heartbeat));
            self.outbox.push_behind(heartbeat);
        }
        if has_ping {
            self.outbox.push_behind(websocket::frame(OpCode::Ping, &[]));
        }
    }

    fn count_batch(&self, batch: &Batch, wall_ms: i64) {
        let metrics = &self.metrics;
        metrics.deliveries.inc_by(batch.deliveries);
        metrics.conflated.inc_by(batch.conflated);
        metrics.messages.inc();
        metrics.bytes.inc_by(batch.bytes as u64);
        for (written_ms, histogram) in
            [(batch.live_ms, &metrics.latency), (batch.resumed_ms, &metrics.resumed)]
        {
            if let Some(written_ms) = written_ms.filter(|written_ms| *written_ms >= 0) {
                histogram.observe(seconds_between(written_ms, wall_ms));
            }
        }
    }

    /// Counts what a frame reports.
    fn count(&self, frame: &v1::frame::Frame) {
        let metrics = &self.metrics;
        match frame {
            v1::frame::Frame::Error(error) => {
                metrics.command_errors.get_or_create(&[("code", error.code().as_str_name())]).inc();
            }
            v1::frame::Frame::Subscribed(subscribed) => {
                metrics.subscriptions.inc();
                metrics.retention_losses.inc_by(subscribed.lost.len() as u64);
            }
            v1::frame::Frame::Skipped(_) => {
                metrics.retention_losses.inc();
            }
            // Those that end with the session are counted together.
            v1::frame::Frame::Unsubscribed(ended) if ended.reason() != UnsubscribeReason::Closing => {
                metrics.subscriptions.dec();
            }
            _ => {}
        }
    }

    /// Makes a frame a WebSocket message of its own.
    fn frame(&self, id: u32, frame: v1::frame::Frame) -> bytes::Bytes {
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

impl<W: Writer> Serve for Mutex<Session<W>> {
    fn serve(&self) -> bool {
        match self.try_lock() {
            Ok(mut session) => session.serve_inline(),
            // The task is at work, and looks afterwards; or it has panicked, or is about to.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        }
    }
}

fn seconds_between(from_ms: i64, to_ms: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a latency beyond 2^52 ms is not a figure that anybody reads"
    )]
    let ms = (to_ms - from_ms).max(0) as f64;
    ms / 1e3
}
