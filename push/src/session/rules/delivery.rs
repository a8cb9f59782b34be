//! What goes into the next message, and when: deliveries, heartbeats and pings.

use tailcast_proto::{delivery::Format, push::v1};

use super::{
    Action, CloseReason, Moment, Rules,
    liveness::{Due, Phase},
    subscriptions::Batch,
};
use crate::cursor::GatherRequest;

/// Room for one message in the outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// How many bytes the message should have at most; a single delivery may have more.
    pub(crate) bytes: usize,
    /// Whether the client did not take the last message at once.
    pub(crate) is_behind: bool,
}

/// One WebSocket message of deliveries, and the frames to write behind it in the same write.
#[derive(Debug)]
pub(crate) struct Message {
    /// Empty when no cursor had anything to deliver.
    pub(crate) batch: Batch,
    pub(crate) heartbeat: Option<v1::Heartbeat>,
    pub(crate) has_ping: bool,
}

/// What a thread of the fan-out does with a session that has news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inline {
    /// Gather a message, if there is room, and write it.
    Deliver,
    /// Nothing: the session's task has to go on.
    LeaveToTask,
    /// Nothing: the session is closed.
    Closed,
}

impl Rules {
    /// Takes the news for a thread of the fan-out, which does not wait for the socket. `room` is
    /// there if the outbox is empty.
    pub(crate) fn wake_up_inline(
        &mut self,
        room: Option<Room>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Inline {
        if self.liveness.phase() == Phase::Closed {
            return Inline::Closed;
        }
        // What was ready before did not fit, or is a backlog. The task is working on it, and other
        // sessions need this thread.
        if room.is_none() || self.liveness.is_heartbeat_due() || self.subscriptions.is_ready() {
            return Inline::LeaveToTask;
        }
        actions.extend(self.subscriptions.take_news().into_iter().map(Action::from));
        // Replies go before data, and take the room.
        let room = room.filter(|_| actions.is_empty());
        if self.subscriptions.is_ready() && !self.advance_heartbeat(room, at, actions) {
            return Inline::LeaveToTask;
        }
        Inline::Deliver
    }

    /// Whether a cursor has more to deliver than the last message had room for.
    pub(crate) fn has_backlog(&self) -> bool {
        self.subscriptions.is_ready()
    }

    /// Gathers the next message.
    pub(crate) fn message(&mut self, room: Room, at: Moment) -> Message {
        let turn = GatherRequest { budget: room.bytes, is_behind: room.is_behind, now: at.now };
        let mut batch = self.subscriptions.gather(turn);
        if self.format == Format::Json {
            batch.trim_last_line_end();
        }
        let heartbeat = self.liveness.is_heartbeat_due().then(|| self.heartbeat(at.wall_ms));
        Message { batch, heartbeat, has_ping: false }
    }

    /// Does what is due.
    pub(super) fn alarm(
        &mut self,
        mut room: Option<Room>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), CloseReason> {
        self.subscriptions.wake_due(at.now);
        while let Some(due) = self.liveness.due(at.now, at.random) {
            match due {
                Due::Ping => self.ping(room.take(), at, actions),
                // Before a heartbeat every cursor is looked at: then the reported progress is the
                // furthest.
                Due::Heartbeat if self.is_too_far_behind() => return Err(CloseReason::Behind),
                Due::Heartbeat => self.subscriptions.recheck_all(),
                Due::NotConnected => return Err(CloseReason::NotConnected),
                Due::NoPong => return Err(CloseReason::NoPong),
                Due::SlowConsumer => return Err(CloseReason::SlowConsumer),
                Due::Leave => return Err(CloseReason::Draining),
            }
        }
        Ok(())
    }

    /// Makes a heartbeat that is due soon go with the next message. Returns `false` if something
    /// else is due, which is left to the task.
    ///
    /// Not where the next message looks like a lag: that is judged at the heartbeat's own time.
    fn advance_heartbeat(&mut self, mut room: Option<Room>, at: Moment, actions: &mut Vec<Action>) -> bool {
        if self.is_too_far_behind() || !self.liveness.hurry(at.now) {
            return true;
        }
        while let Some(due) = self.liveness.due(at.now, at.random) {
            match due {
                Due::Ping => self.ping(room.take(), at, actions),
                Due::Heartbeat => self.subscriptions.recheck_all(),
                Due::NotConnected | Due::NoPong | Due::SlowConsumer | Due::Leave => return false,
            }
        }
        true
    }

    /// Pings: behind a heartbeat that is due, if there is room for that, since then it costs no
    /// write of its own.
    fn ping(&mut self, room: Option<Room>, at: Moment, actions: &mut Vec<Action>) {
        match room.filter(|_| self.liveness.is_heartbeat_due()) {
            Some(room) => {
                let message = self.message(room, at);
                actions.push(Action::Write(Message { has_ping: true, ..message }));
            }
            None => actions.push(Action::Ping),
        }
    }

    fn is_too_far_behind(&self) -> bool {
        let limit = self.policy.sessions.lag_records_max;
        limit > 0 && self.subscriptions.is_behind(limit)
    }

    /// Returns the heartbeat that is due. It is written behind the message that was just gathered,
    /// so the progress in it is true when it arrives.
    fn heartbeat(&mut self, wall_ms: i64) -> v1::Heartbeat {
        self.liveness.heartbeat_written();
        let lag = self.subscriptions.lag(wall_ms);
        v1::Heartbeat {
            server_time_ms: wall_ms,
            lag_records: lag.records,
            lag_ms: lag.ms,
            progress: self.subscriptions.progress(),
        }
    }
}
