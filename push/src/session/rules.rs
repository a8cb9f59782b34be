//! The rules of a session: events go in, actions come out.
//!
//! No IO, tasks, clocks or randomness. What happened, the time and a random number are arguments.
//! Except for log lines, and for the doorbell that a cursor rings for itself, everything to do is
//! returned: frames to write, starts and pages to request, the time of the
//! next alarm, the close. The session's task and the threads of the [fan-out](crate::wake::fan_out)
//! call these rules under the session's lock, and carry out what they return.
//!
//! A session goes through four phases:
//!
//! | phase    | entered by                     | left by                                         |
//! |----------|--------------------------------|-------------------------------------------------|
//! | greeting | the upgrade                    | `Connect`; a deadline, drain or violation close |
//! | serving  | `Connect`                      | a drain of the node, or a close                 |
//! | leaving  | a drain, announced by `Goaway` | a close, at the latest when its time is up      |
//! | closed   | a close reason                 | never; after the positions nothing is sent      |
//!
//! Invariant: a delivery leaves a cursor once. It is in the [`Message`] that the call returned, and
//! the caller has room for that.

mod commands;
mod delivery;
pub(crate) mod liveness;
pub(crate) mod subscriptions;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tailcast_proto::{Channel, delivery::Format, push::v1};

pub(crate) use self::delivery::{Inline, Message, Room};
use self::{
    liveness::{Liveness, Phase, Timing},
    subscriptions::{Notice, PageRequest, Subscriptions},
};
use super::{
    CloseReason,
    inbound::{Inbound, Violation},
    reply,
    request::{CommandError, Request},
    start::Started,
};
use crate::{
    config::{Config, SessionsConfig},
    kafka::catch_up::PageError,
    log::page::Page,
    wake::doorbell::{CursorId, Doorbell},
};

/// One session's state, and the rules that change it.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: Arc<SessionPolicy>,
    id: u64,
    format: Format,
    liveness: Liveness,
    subscriptions: Subscriptions,
    /// Subscriptions whose start was requested; with the id of an `Unsubscribe` that came before
    /// the answer.
    starting: HashMap<Channel, Option<u32>>,
}

/// The part of a node's configuration that its sessions follow.
#[derive(Debug)]
pub(crate) struct SessionPolicy {
    node: String,
    sessions: SessionsConfig,
    drain_spread: Duration,
}

/// The time and the random number with which a session decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// Milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
    /// 0 to 1.
    pub(crate) random: f64,
}

/// What happened to a session.
#[derive(Debug)]
pub(crate) enum Event {
    /// The node has begun to drain.
    Drain,
    /// The client sent a message or a control frame, or ended the connection.
    Inbound {
        message: Inbound,
        /// The node takes in no more sessions, because its memory is used up.
        is_node_full: bool,
    },
    /// The client violated the WebSocket protocol.
    Violation(Violation),
    /// The time of the alarm has come. `room` is there if a message may be gathered now.
    Alarm { room: Option<Room> },
    /// A start that was requested was found, or refused.
    Started(Box<(Request, Result<Started, CommandError>)>),
    /// A page that was requested was read, or refused.
    Page(PageAnswer),
    /// The doorbell rang.
    WakeUp,
    /// The connection failed.
    Lost,
    /// The node holds more for blocked sockets than its limit, and this session has been blocked
    /// for longest.
    NoRoom,
}

/// A page that a cursor requested.
#[derive(Debug)]
pub(crate) struct PageAnswer {
    pub(crate) cursor: CursorId,
    /// The serial number of the cursor that requested it: its id may be another cursor's by then.
    pub(crate) serial: u64,
    pub(crate) page: Result<Arc<Page>, PageRefusal>,
}

/// Why a page was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageRefusal {
    /// Kafka does not have it.
    Unreadable(PageError),
    /// The client may not read the channel.
    Forbidden,
}

/// What became of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// Everything is written and flushed.
    Written,
    /// The client has made room for something.
    Progressed,
    /// Something is left to write.
    Pending,
}

/// What is to be done for a session, in order.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a frame ahead of data.
    Reply { id: u32, frame: v1::frame::Frame },
    /// Answer a ping.
    Pong(Bytes),
    /// Send a ping ahead of data.
    Ping,
    /// Write a message of data. There is room for one.
    Write(Message),
    /// Find where a subscription starts.
    Start(Request),
}

/// How a session ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With this close frame, once everything before it is written.
    CloseFrame { code: Option<u16>, reason: String },
    /// At once: nobody is there to read a close frame.
    Silent,
}

impl SessionPolicy {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            node: config.node_name(),
            sessions: config.sessions.clone(),
            drain_spread: config.drain.spread,
        }
    }

    /// The limits and deadlines of a session.
    pub(crate) fn sessions(&self) -> &SessionsConfig {
        &self.sessions
    }
}

impl Rules {
    /// Starts at the upgrade.
    pub(crate) fn new(
        policy: Arc<SessionPolicy>,
        id: u64,
        format: Format,
        doorbell: Arc<Doorbell>,
        at: Moment,
    ) -> Self {
        Self {
            id,
            format,
            liveness: Liveness::new(Timing::from(&policy.sessions), at.now, at.random),
            subscriptions: Subscriptions::new(doorbell),
            starting: HashMap::new(),
            policy,
        }
    }

    /// Applies an event. Adds what is to be done to `actions`, also where the session ends.
    ///
    /// # Errors
    ///
    /// Why the session ends. The caller carries out the actions and then calls [`Rules::close`].
    pub(crate) fn handle(
        &mut self,
        event: Event,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), CloseReason> {
        match event {
            Event::Drain => match self.liveness.phase() {
                // The client loses nothing, and should not begin here.
                Phase::Greeting { .. } => return Err(CloseReason::Draining),
                Phase::Serving(_) => self.drain(at, actions),
                Phase::Leaving { .. } | Phase::Closed => {}
            },
            Event::Inbound { is_node_full: true, .. } if self.is_greeting() => {
                return Err(CloseReason::NodeFull);
            }
            Event::Inbound { message, .. } => return self.inbound(message, at, actions),
            Event::Violation(Violation { code, why }) => return Err(CloseReason::WebSocket { code, why }),
            Event::Alarm { room } => return self.alarm(room, at, actions),
            Event::Started(started) => self.started(*started, actions),
            Event::Page(answer) => {
                let notice = self.subscriptions.take_page(answer);
                actions.extend(notice.map(Action::from));
            }
            Event::WakeUp => actions.extend(self.subscriptions.take_news().into_iter().map(Action::from)),
            Event::Lost => return Err(CloseReason::Lost),
            Event::NoRoom => return Err(CloseReason::NoRoom),
        }
        Ok(())
    }

    /// Applies what became of the outbox.
    pub(crate) fn socket(&mut self, socket: Socket, now: Instant) {
        match socket {
            Socket::Written => self.liveness.written(now),
            Socket::Progressed => self.liveness.progressed(now),
            Socket::Pending => self.liveness.blocked(now),
        }
    }

    /// Returns the next page to request.
    pub(crate) fn next_page_request(&mut self) -> Option<PageRequest> {
        self.subscriptions.next_page_request()
    }

    /// Returns when the session wants an [`Event::Alarm`]: for a deadline at the next of the node's
    /// ticks, for a delayed delivery at its time.
    pub(crate) fn alarm_at(&self, clock: &liveness::Clock) -> Instant {
        let deadline = clock.tick(self.liveness.next());
        self.subscriptions.next_due().map_or(deadline, |due| due.min(deadline))
    }

    /// Whether the session wants an [`Event::Drain`].
    pub(crate) fn awaits_drain(&self) -> bool {
        matches!(self.liveness.phase(), Phase::Greeting { .. } | Phase::Serving(_))
    }

    /// The doorbell that rings when a cursor has news.
    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        self.subscriptions.doorbell()
    }

    /// Returns how many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Ends the session. A client that is to resume first gets the positions of its
    /// subscriptions: everything before them is written.
    pub(crate) fn close(&mut self, reason: &CloseReason, actions: &mut Vec<Action>) -> Ending {
        self.liveness.closed();
        if *reason == CloseReason::Lost {
            return Ending::Silent;
        }
        if reason.asks_to_resume() {
            actions.extend(self.subscriptions.close().into_iter().map(|unsubscribed| Action::Reply {
                id: 0,
                frame: v1::frame::Frame::Unsubscribed(unsubscribed),
            }));
        }
        Ending::CloseFrame { code: reason.code(), reason: reason.text().into_owned() }
    }

    /// Connects without a client. Its subscriptions are added by hand.
    #[cfg(feature = "benchmarks")]
    pub(super) fn connect_for_benchmark(&mut self, now: Instant) -> &mut Subscriptions {
        self.liveness.connected(now);
        &mut self.subscriptions
    }

    /// Asks the client to leave, at a moment of its own within the spread.
    fn drain(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let spread = self.policy.drain_spread;
        let retry_after = spread.mul_f64(at.random);
        // The client gets some time to leave by itself. The times are spread as well.
        let leave_after = retry_after + spread / 10;
        self.liveness.leave_by(at.now + leave_after);
        let goaway = reply::goaway(retry_after, leave_after);
        actions.push(Action::Reply { id: 0, frame: v1::frame::Frame::Goaway(goaway) });
    }

    /// Whether the client has not connected yet.
    fn is_greeting(&self) -> bool {
        matches!(self.liveness.phase(), Phase::Greeting { .. })
    }
}

impl From<Notice> for Action {
    fn from(notice: Notice) -> Self {
        let frame = match notice {
            Notice::Skipped(skipped) => v1::frame::Frame::Skipped(skipped),
            Notice::Ended(unsubscribed) => v1::frame::Frame::Unsubscribed(unsubscribed),
        };
        Self::Reply { id: 0, frame }
    }
}

#[cfg(test)]
pub(super) mod tests;
