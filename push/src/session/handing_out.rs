//! How a session hands out: it gathers what its cursors have into one message, at once or when its task comes to it.
//!
//! The fan-out's threads attend to sessions here, and do no more than can be done without waiting: the rest is the task's.

use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

use parking_lot::Mutex;
use tailcast_proto::delivery::Format;

use super::{
    Session, Writer,
    rules::{liveness::Phase, subscriptions::Batch},
};
use crate::{clock::wall_clock_ms, cursor::GatherRequest, wake::doorbell::Attend};

impl<W: Writer> Session<W> {
    /// Hands out what is new without the task, and returns whether that was all there is to do.
    fn attend(&mut self) -> bool {
        if self.liveness.phase() == Phase::Closed {
            return true;
        }
        // What was ready before is what did not fit, or a backlog: its task is at it, and others wait for this thread.
        if !self.outbox.is_empty() || self.liveness.is_heartbeat_due() || self.subscriptions.is_ready() {
            return false;
        }
        let (now, pages) = (Instant::now(), self.pages.len());
        let events = self.subscriptions.take_news();
        self.tell(events);
        if self.subscriptions.is_ready() && !self.take_along(now) {
            return false;
        }
        self.fill_outbox(now);
        if !self.outbox.is_empty() {
            // Nobody is woken when the socket takes more, so the task has to go on where it does not take all. It meets the
            // same error, too.
            match self.poll_flush(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => self.liveness.written(now),
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        self.pages.len() == pages && !self.subscriptions.is_ready() && self.next_tick() >= self.alarm
    }

    /// Gathers the next message once the last one is written, and asks for the pages that cursors need.
    pub(super) fn fill_outbox(&mut self, now: Instant) {
        if self.outbox.wants_message() {
            self.gather(now);
            if self.liveness.is_heartbeat_due() {
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
    pub(super) fn gather(&mut self, now: Instant) {
        let budget = self.outbox.message_budget();
        let turn = GatherRequest { budget, is_behind: self.outbox.was_blocked(), now };
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
        for (written_ms, histogram) in
            [(batch.live_ms, &metrics.latency), (batch.resumed_ms, &metrics.resumed)]
        {
            if let Some(written_ms) = written_ms.filter(|written_ms| *written_ms >= 0) {
                histogram.observe(seconds_since(written_ms));
            }
        }
        if self.format == Format::Json {
            trim_last_line_end(&mut batch);
        }
        self.outbox.push_message(self.opcode(), batch.bytes, batch.parts);
    }

    /// Panics where the fan-out did in the middle of something: what it took from a cursor and did not write would be a gap.
    pub(super) fn check_whole(&self) {
        assert!(!self.is_attended, "the session panicked in a thread of the fan-out");
    }
}

impl<W: Writer> Attend for Mutex<Session<W>> {
    fn attend(&self) -> bool {
        // Its task is at work, and sees to it afterwards.
        self.try_lock().is_some_and(|mut session| {
            session.is_attended = true;
            let is_all = session.attend();
            session.is_attended = false;
            is_all
        })
    }
}

/// Lines are separated, not ended: the last line end is left out.
fn trim_last_line_end(batch: &mut Batch) {
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
