//! Commands, records, slow sockets, drains, starts and pages in any order, against the plainest
//! model of a session.
//!
//! A few lines stand in for the executors and carry out the actions. The model knows which reply
//! each command gets, that a subscription delivers every record of its channel from its start on,
//! once and in order, that the position with which it ends is where the client is, and for what a
//! session may be closed, and when it has to be.

mod client;
mod steps;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use proptest::{
    prelude::{ProptestConfig, any, proptest},
    sample::select,
};
use tailcast_proto::push::v1::{ErrorCode, client_message::Command};

use self::{
    client::{CHANNELS, Client, channel_of},
    steps::{Step, steps},
};
use super::{
    super::*,
    world::{World, command, frames, inbound, subscribe, unsubscribe},
};

/// A frame or a control frame on its way to the client.
enum Sent {
    Frame(u32, v1::frame::Frame),
    Ping,
    Pong,
}

/// The state of a channel's subscription, by its commands and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Starting { subscribe: u32, unsubscribe: Option<u32> },
    Live,
}

/// A session with executors that do what the rules return.
struct Session {
    world: World,
    states: [State; CHANNELS.len()],
    expected: BTreeMap<u32, Vec<String>>,
    next_id: u32,
    starts: Vec<Request>,
    pages: Vec<PageRequest>,
    /// The message that has begun, and the frames that go before the next.
    wire: Vec<Sent>,
    control: VecDeque<Sent>,
    is_blocked: bool,
    is_behind: bool,
    /// Since when the socket has taken nothing of what is there.
    pending_since: Option<Instant>,
    budget: usize,
    alarm: Instant,
    is_queued: bool,
    is_woken: bool,
    answers_pings: bool,
    /// A ping was sent since the client was last heard.
    awaits_pong: bool,
    /// When that was written.
    ping_written: Option<Instant>,
    drained: Option<Instant>,
    closed: Option<CloseReason>,
    client: Client,
}

/// How late a deadline may be noticed, and how early a heartbeat may have gone.
const TICK: Duration = Duration::from_millis(25);
const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_each_command_is_answered_and_each_record_delivered_once_and_in_order(
        steps in steps(),
        budget in select(vec![1, 60, 10_000]),
        answers_pings in proptest::bool::weighted(0.9),
        seed in any::<u64>(),
    ) {
        let mut session = Session::new(budget, answers_pings);
        let mut random = fastrand::Rng::with_seed(seed);
        for step in steps {
            session.world.random = random.f64();
            session.step(step);
        }
        session.settle();
        assert_eq!(session.client.replies, session.expected);
        assert_eq!(session.client.goaways, usize::from(session.drained.is_some()));
    }
}

impl Session {
    /// Starts with a session that is connected.
    fn new(budget: usize, answers_pings: bool) -> Self {
        let world = World::new();
        let mut session = Self {
            states: [State::Idle; CHANNELS.len()],
            expected: BTreeMap::new(),
            next_id: 1,
            starts: Vec::new(),
            pages: Vec::new(),
            wire: Vec::new(),
            control: VecDeque::new(),
            is_blocked: false,
            is_behind: false,
            pending_since: None,
            budget,
            alarm: world.now,
            is_queued: false,
            is_woken: false,
            answers_pings,
            awaits_pong: false,
            ping_written: None,
            drained: None,
            closed: None,
            client: Client::default(),
            world,
        };
        session.client.heartbeat_at = Some(session.world.now);
        let id = session.expect("connected");
        session.handle(command(id, Command::Connect(v1::Connect::default())));
        session
    }

    fn step(&mut self, step: Step) {
        if self.closed.is_some() {
            return;
        }
        match step {
            Step::Subscribe(channel) => self.subscribe(channel),
            Step::Unsubscribe(channel) => self.unsubscribe(channel),
            Step::Found(which, back) => self.found(|count| which.index(count), |count| back.index(count)),
            Step::Refused(which) => self.refused(|count| which.index(count)),
            Step::Append(topic, keys) => {
                self.world.topic(topic).append(&keys);
                self.is_queued = true;
            }
            Step::Evict(topic) => drop(self.world.topic(topic).partition.evict_oldest()),
            Step::Page(which, length) => self.answer_page(|count| which.index(count), length),
            Step::ForgetPages => self.world.shelf.clear(),
            Step::Inline => self.inline(),
            Step::Task => self.task(),
            Step::Block => self.is_blocked = true,
            Step::Unblock => {
                self.is_blocked = false;
                self.proceed();
            }
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::Drain => {
                assert!(self.world.rules.awaits_drain());
                self.drained = Some(self.world.now);
                self.handle(Event::Drain);
                assert!(!self.world.rules.awaits_drain(), "it is asked to leave once");
            }
        }
        self.is_woken |= self.world.rules.doorbell().rung().now_or_never().is_some();
    }

    /// Returns the id of a command whose reply is known.
    fn expect(&mut self, reply: &str) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.expect_for(id, reply);
        id
    }

    fn expect_for(&mut self, id: u32, reply: &str) {
        self.expected.entry(id).or_default().push(reply.to_owned());
    }

    fn subscribe(&mut self, channel: usize) {
        let others = self.states.iter().filter(|state| **state != State::Idle).count();
        let id = match self.states[channel] {
            _ if others >= 2 => self.expect(ErrorCode::TooManySubscriptions.as_str_name()),
            State::Idle => {
                let id = self.next_id;
                self.next_id += 1;
                self.states[channel] = State::Starting { subscribe: id, unsubscribe: None };
                id
            }
            State::Starting { .. } | State::Live => self.expect(ErrorCode::AlreadySubscribed.as_str_name()),
        };
        self.handle(command(id, subscribe(CHANNELS[channel])));
    }

    fn unsubscribe(&mut self, channel: usize) {
        let id = match self.states[channel] {
            State::Starting { subscribe, unsubscribe: None } => {
                let id = self.next_id;
                self.next_id += 1;
                self.states[channel] = State::Starting { subscribe, unsubscribe: Some(id) };
                id
            }
            State::Live => {
                self.states[channel] = State::Idle;
                self.expect("unsubscribed")
            }
            State::Idle | State::Starting { .. } => self.expect(ErrorCode::NotSubscribed.as_str_name()),
        };
        self.handle(command(id, unsubscribe(CHANNELS[channel])));
    }

    /// Takes one of the starts, with the channel and the ids of its commands.
    fn take_start(&mut self, which: impl Fn(usize) -> usize) -> Option<(Request, usize, (u32, Option<u32>))> {
        if self.starts.is_empty() {
            return None;
        }
        let request = self.starts.remove(which(self.starts.len()));
        let channel = channel_of(&request.channel.to_string());
        match std::mem::replace(&mut self.states[channel], State::Idle) {
            State::Starting { subscribe, unsubscribe } => Some((request, channel, (subscribe, unsubscribe))),
            state => panic!("a start was requested for nothing: {request:?} {state:?}"),
        }
    }

    /// A requested start completes, some records before the end.
    fn found(&mut self, which: impl Fn(usize) -> usize, back: impl Fn(usize) -> usize) {
        let Some((request, channel, (subscribe, unsubscribe))) = self.take_start(which) else { return };
        self.expect_for(subscribe, "subscribed");
        match unsubscribe {
            Some(unsubscribe) => self.expect_for(unsubscribe, "unsubscribed"),
            None => self.states[channel] = State::Live,
        }
        let head = self.world.topic(request.channel.topic.as_ref()).partition.head().get();
        let back = back(usize::try_from(head).expect("it grows") + 1);
        let started = self.world.started(&request, head - i64::try_from(back).expect("it is small"));
        self.handle(Event::Started(Box::new((request, Ok(started)))));
    }

    fn refused(&mut self, which: impl Fn(usize) -> usize) {
        let Some((request, _, (subscribe, unsubscribe))) = self.take_start(which) else { return };
        self.expect_for(subscribe, ErrorCode::UnknownTopic.as_str_name());
        if let Some(unsubscribe) = unsubscribe {
            self.expect_for(unsubscribe, ErrorCode::NotSubscribed.as_str_name());
        }
        let error = CommandError::new(ErrorCode::UnknownTopic, "there is none");
        self.handle(Event::Started(Box::new((request, Err(error)))));
    }

    fn answer_page(&mut self, which: impl Fn(usize) -> usize, length: usize) {
        if !self.pages.is_empty() {
            let request = self.pages.remove(which(self.pages.len()));
            let answer = self.world.answer(&request, length);
            self.handle(Event::Page(answer));
        }
    }

    /// Lets time pass, with each alarm at its time.
    fn wait(&mut self, time: Duration) {
        // While time passes, the task runs if it was woken.
        self.task();
        let until = self.world.now + time;
        while self.closed.is_none() && self.alarm <= until {
            self.world.now = self.world.now.max(self.alarm);
            let room = self.room();
            if room.is_none() && !self.is_blocked {
                self.proceed();
            }
            self.handle(Event::Alarm { room: self.room() });
            assert!(self.closed.is_some() || self.alarm > self.world.now, "an alarm is for something later");
        }
        if self.closed.is_some() {
            return;
        }
        self.world.now = until;
        let is_late = |since: Option<Instant>, limit| since.is_some_and(|since| until > since + limit + TICK);
        assert!(!is_late(self.pending_since, 15 * SECOND), "a client that takes nothing is closed");
        assert!(!is_late(self.ping_written, 10 * SECOND), "a client that answers nothing is closed");
        assert!(!is_late(self.drained, 11 * SECOND), "a client that stays is closed");
        let is_silent = !self.is_blocked && is_late(self.client.heartbeat_at, 7 * SECOND);
        assert!(!is_silent, "a client that takes everything gets heartbeats");
    }

    /// What the session's task does when it was woken.
    fn task(&mut self) {
        if std::mem::take(&mut self.is_woken) {
            self.handle(Event::WakeUp);
        }
    }

    /// What a thread of the fan-out does with a session that is queued.
    fn inline(&mut self) {
        if !std::mem::take(&mut self.is_queued) {
            return;
        }
        let (pages, at, mut actions) = (self.pages.len(), self.world.at(), Vec::new());
        let room = if self.is_empty() { self.room() } else { None };
        let inline = self.world.rules.wake_up_inline(room, at, &mut actions);
        self.carry_out(actions);
        if inline == Inline::LeaveToTask {
            self.is_woken = true;
            return;
        }
        self.fill();
        self.flush();
        let is_all = self.is_empty()
            && self.pages.len() == pages
            && !self.world.rules.has_backlog()
            && self.world.rules.alarm_at(&self.world.clock) >= self.alarm;
        self.is_woken |= !is_all;
    }

    fn handle(&mut self, event: Event) {
        if matches!(event, Event::Inbound { .. }) {
            // Whatever it sends, it lives.
            self.heard();
        }
        let (at, mut actions) = (self.world.at(), Vec::new());
        let handled = self.world.rules.handle(event, at, &mut actions);
        self.carry_out(actions);
        match handled {
            Ok(()) => self.proceed(),
            Err(reason) => self.close(reason),
        }
    }

    fn heard(&mut self) {
        (self.awaits_pong, self.ping_written) = (false, None);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply { id, frame } => self.control.push_back(Sent::Frame(id, frame)),
                Action::Pong(_) => self.control.push_back(Sent::Pong),
                Action::Ping => {
                    self.awaits_pong = true;
                    self.control.push_back(Sent::Ping);
                }
                Action::Write(message) => {
                    assert!(self.room().is_some(), "there is room for what is gathered");
                    self.write(message);
                }
                Action::Start(request) => self.starts.push(request),
            }
        }
    }

    /// What the task does before it waits.
    fn proceed(&mut self) {
        loop {
            self.fill();
            if self.is_empty() || self.is_blocked {
                break;
            }
            self.flush();
        }
        self.alarm = self.world.rules.alarm_at(&self.world.clock);
    }

    fn fill(&mut self) {
        if let Some(room) = self.room() {
            let message = self.world.rules.message(room, self.world.at());
            self.write(message);
        }
        self.pages.extend(std::iter::from_fn(|| self.world.rules.next_page_request()));
        if !self.is_empty() {
            self.world.rules.socket(Socket::Pending, self.world.now);
            self.pending_since.get_or_insert(self.world.now);
        }
    }

    fn write(&mut self, Message { batch, heartbeat, has_ping }: Message) {
        self.is_behind &= batch.bytes > 0;
        self.wire.extend(frames(&batch.parts).into_iter().map(|frame| Sent::Frame(0, frame)));
        self.wire.extend(heartbeat.map(|heartbeat| Sent::Frame(0, v1::frame::Frame::Heartbeat(heartbeat))));
        self.awaits_pong |= has_ping;
        self.wire.extend(has_ping.then_some(Sent::Ping));
    }

    /// Lets the socket take everything, or nothing.
    fn flush(&mut self) {
        if self.is_blocked {
            self.is_behind = true;
            return;
        }
        let mut pings = 0;
        let sent: Vec<_> = self.wire.drain(..).chain(self.control.drain(..)).collect();
        for sent in sent {
            match sent {
                Sent::Frame(id, frame) => self.client.take(id, frame, &self.world),
                Sent::Ping => pings += 1,
                Sent::Pong => {}
            }
        }
        self.client.pings += pings;
        self.world.rules.socket(Socket::Written, self.world.now);
        self.pending_since = None;
        if pings > 0 {
            if std::mem::take(&mut self.awaits_pong) {
                self.ping_written.get_or_insert(self.world.now);
            }
            if self.answers_pings {
                self.heard();
                let at = self.world.at();
                let heard = self.world.rules.handle(inbound(Inbound::Pong), at, &mut Vec::new());
                assert_eq!(heard, Ok(()));
            }
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let now = self.world.now;
        let since = |since: Option<Instant>| now - since.expect("it has begun");
        match reason {
            CloseReason::SlowConsumer => assert!(since(self.pending_since) >= 15 * SECOND),
            CloseReason::NoPong => assert!(since(self.ping_written) >= 10 * SECOND),
            CloseReason::Draining => assert!(since(self.drained) >= SECOND),
            _ => panic!("it is closed for {reason:?}"),
        }
        let mut actions = Vec::new();
        let ending = self.world.rules.close(&reason, &mut actions);
        assert_eq!(ending, Ending::CloseFrame { code: reason.code(), reason: reason.text().into_owned() });
        self.carry_out(actions);
        // However slow it is: what it takes in the end has to be right.
        self.is_blocked = false;
        self.flush();
        assert!(self.client.subscriptions.is_empty(), "each subscription ends with its position");
        for state in self.states {
            // A start that is not found by then is not answered.
            if let State::Starting { subscribe, unsubscribe } = state {
                self.client.replies.remove(&subscribe);
                unsubscribe.map(|unsubscribe| self.client.replies.remove(&unsubscribe));
            }
        }
        self.closed = Some(reason);
    }

    /// In the end the socket takes everything, and every request is answered.
    fn settle(&mut self) {
        self.answers_pings = true;
        if self.closed.is_none() {
            let at = self.world.at();
            let heard = self.world.rules.handle(inbound(Inbound::Pong), at, &mut Vec::new());
            assert_eq!(heard, Ok(()));
            self.heard();
            self.step(Step::Unblock);
        }
        for _ in 0..1_000 {
            if self.closed.is_some() {
                return;
            }
            let is_quiet =
                self.starts.is_empty() && self.pages.is_empty() && !self.is_queued && !self.is_woken;
            if is_quiet {
                break;
            }
            self.found(|_| 0, |_| 0);
            self.answer_page(|_| 0, 4);
            self.step(Step::Inline);
            self.step(Step::Task);
        }
        for (alias, subscription) in &self.client.subscriptions {
            let left = self.world.own(subscription.channel, subscription.next).next();
            assert_eq!(left, None, "{alias} is not delivered");
        }
        let live = self.states.iter().filter(|state| **state == State::Live).count();
        assert_eq!((self.client.subscriptions.len(), self.world.rules.subscriptions()), (live, live));
    }

    fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.control.is_empty()
    }

    fn room(&self) -> Option<Room> {
        self.is_empty().then_some(Room { bytes: self.budget, is_behind: self.is_behind })
    }
}
