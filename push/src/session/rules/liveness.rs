//! When a session pings, heartbeats and gives up: plain rules, time is an argument.

use std::time::{Duration, Instant};

use crate::config::SessionsConfig;

/// The phase of a session and its deadlines.
#[derive(Debug)]
pub(crate) struct Liveness {
    timing: Timing,
    phase: Phase,
    ping_at: Instant,
    pong: Pong,
    /// How long before its time a heartbeat may go with something else. Drawn anew for each:
    /// otherwise one event for many sessions would have the heartbeats of all of them from then on,
    /// and the pings, and the pongs.
    early: Duration,
    /// When the socket last stopped accepting buffered bytes.
    blocked_since: Option<Instant>,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `Connect` has not come yet.
    Greeting { connect_by: Instant },
    /// The client is connected.
    Serving(Heartbeat),
    /// The client is connected, and was asked to leave a draining node.
    Leaving { heartbeat: Heartbeat, leave_by: Instant },
    /// The close frame is the last that is written.
    Closed,
}

/// The heartbeats of a client that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    at: Instant,
    /// One is due, and is written once the message that has begun is.
    is_due: bool,
}

/// Whether a pong is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pong {
    NotAwaited,
    /// Its ping has not been written yet.
    Pinged,
    By(Instant),
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    connect_deadline: Duration,
    ping_interval: Duration,
    pong_deadline: Duration,
    heartbeat_interval: Duration,
    write_deadline: Duration,
}

/// The largest part of its interval by which a heartbeat may come early.
const EARLY_SHARE: f64 = 0.25;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    Heartbeat,
    /// No `Connect` came.
    NotConnected,
    NoPong,
    SlowConsumer,
    /// The client has not left a draining node.
    Leave,
}

/// The ticks at which all sessions of a node look at their deadlines. Thousands of sessions with a
/// clock each would wake the node at every millisecond, for one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// How late a deadline may be noticed.
    const TICK_US: u64 = 25_000;

    pub(crate) fn new(start: Instant) -> Self {
        Self { start }
    }

    /// Returns the first tick that is not before `at`.
    pub(crate) fn tick(&self, at: Instant) -> Instant {
        let since_us = at.saturating_duration_since(self.start).as_nanos().div_ceil(1_000);
        let since_us = u64::try_from(since_us).unwrap_or(u64::MAX / 2);
        self.start + Duration::from_micros(since_us.next_multiple_of(Self::TICK_US))
    }
}

impl From<&SessionsConfig> for Timing {
    fn from(sessions: &SessionsConfig) -> Self {
        Self {
            connect_deadline: sessions.connect_deadline,
            ping_interval: sessions.ping_interval,
            pong_deadline: sessions.pong_deadline,
            heartbeat_interval: sessions.heartbeat_interval,
            write_deadline: sessions.write_deadline,
        }
    }
}

impl Timing {
    fn early(&self, jitter: f64) -> Duration {
        self.heartbeat_interval.mul_f64(jitter * EARLY_SHARE)
    }
}

impl Liveness {
    /// Starts at the upgrade. `jitter`, 0 to 1, spreads the pings and heartbeats of sessions that
    /// began, or get something, at once.
    pub(crate) fn new(timing: Timing, now: Instant, jitter: f64) -> Self {
        Self {
            timing,
            phase: Phase::Greeting { connect_by: now + timing.connect_deadline },
            ping_at: now + timing.ping_interval.mul_f64(0.9 + jitter * 0.2),
            pong: Pong::NotAwaited,
            early: timing.early(jitter),
            blocked_since: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The client has sent `Connect`.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.phase = Phase::Serving(Heartbeat { at: now + self.timing.heartbeat_interval, is_due: false });
    }

    /// The client was asked to leave by a time.
    pub(crate) fn leave_by(&mut self, leave_by: Instant) {
        if let Phase::Serving(heartbeat) = self.phase {
            self.phase = Phase::Leaving { heartbeat, leave_by };
        }
    }

    /// The close frame is about to be written.
    pub(crate) fn closed(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Something came from the client: it lives.
    pub(crate) fn heard(&mut self) {
        self.pong = Pong::NotAwaited;
    }

    /// The client made room for something: it lives, however slowly it takes.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.blocked_since = self.blocked_since.map(|_| now);
        if let Pong::By(by) = &mut self.pong {
            *by = now + self.timing.pong_deadline;
        }
    }

    /// Something waits to be written, and the socket takes nothing.
    pub(crate) fn blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// The socket took what waited. From here on the ping that was among it can be answered: one
    /// behind data that the socket does not take cannot, and the write deadline judges that.
    pub(crate) fn written(&mut self, now: Instant) {
        self.blocked_since = None;
        if self.pong == Pong::Pinged {
            self.pong = Pong::By(now + self.timing.pong_deadline);
        }
    }

    /// Whether a heartbeat is to be written.
    pub(crate) fn is_heartbeat_due(&self) -> bool {
        match &self.phase {
            Phase::Serving(heartbeat) | Phase::Leaving { heartbeat, .. } => heartbeat.is_due,
            Phase::Greeting { .. } | Phase::Closed => false,
        }
    }

    /// The heartbeat that was due is about to be written.
    pub(crate) fn heartbeat_written(&mut self) {
        if let Some(heartbeat) = self.heartbeat_mut() {
            heartbeat.is_due = false;
        }
    }

    /// Returns when to call [`Liveness::due`] next.
    pub(crate) fn next(&self) -> Instant {
        let (at, leave_by) = match self.phase {
            Phase::Greeting { connect_by } => (Some(connect_by), None),
            Phase::Serving(heartbeat) => (Some(heartbeat.at), None),
            Phase::Leaving { heartbeat, leave_by } => (Some(heartbeat.at), Some(leave_by)),
            Phase::Closed => (None, None),
        };
        let write_by = self.blocked_since.map(|since| since + self.timing.write_deadline);
        [at, leave_by, write_by, self.pong_by()].into_iter().flatten().fold(self.ping_at, Instant::min)
    }

    /// Something is about to be written: makes a heartbeat due that soon would be, since with that
    /// it costs no write of its own. Returns whether there is one.
    pub(crate) fn hurry(&mut self, now: Instant) -> bool {
        let soon = now + self.early;
        let Some(heartbeat) = self.heartbeat_mut().filter(|heartbeat| heartbeat.at <= soon) else {
            return false;
        };
        heartbeat.at = heartbeat.at.min(now);
        true
    }

    /// Returns what is due, the worst first. Called until it returns `None`.
    pub(crate) fn due(&mut self, now: Instant, jitter: f64) -> Option<Due> {
        let is_over = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        match self.phase {
            Phase::Closed => return None,
            Phase::Greeting { connect_by } if connect_by <= now => return Some(Due::NotConnected),
            Phase::Greeting { .. } | Phase::Serving(_) | Phase::Leaving { .. } => {}
        }
        if is_over(self.blocked_since.map(|since| since + self.timing.write_deadline)) {
            return Some(Due::SlowConsumer);
        }
        if let Phase::Leaving { leave_by, .. } = self.phase
            && leave_by <= now
        {
            return Some(Due::Leave);
        }
        if is_over(self.pong_by()) {
            return Some(Due::NoPong);
        }
        if self.ping_at <= now {
            self.ping_at = now + self.timing.ping_interval.mul_f64(0.9 + jitter * 0.2);
            if self.pong == Pong::NotAwaited {
                self.pong = Pong::Pinged;
            }
            return Some(Due::Ping);
        }
        let next = now + self.timing.heartbeat_interval;
        let heartbeat = self.heartbeat_mut().filter(|heartbeat| heartbeat.at <= now)?;
        *heartbeat = Heartbeat { at: next, is_due: true };
        self.early = self.timing.early(jitter);
        // With the heartbeat it costs no write of its own.
        if self.ping_at < next {
            self.ping_at = now;
        }
        Some(Due::Heartbeat)
    }

    fn heartbeat_mut(&mut self) -> Option<&mut Heartbeat> {
        match &mut self.phase {
            Phase::Serving(heartbeat) | Phase::Leaving { heartbeat, .. } => Some(heartbeat),
            Phase::Greeting { .. } | Phase::Closed => None,
        }
    }

    fn pong_by(&self) -> Option<Instant> {
        if let Pong::By(by) = self.pong { Some(by) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn started() -> (Liveness, Instant) {
        let timing = Timing {
            connect_deadline: 5 * SECOND,
            ping_interval: 20 * SECOND,
            pong_deadline: 10 * SECOND,
            heartbeat_interval: 7 * SECOND,
            write_deadline: 15 * SECOND,
        };
        let now = Instant::now();
        (Liveness::new(timing, now, 0.5), now)
    }

    /// Lets time pass up to `until` seconds, calling as the session does, and notes what was due
    /// when. The socket takes everything at once, unless it is blocked.
    fn run(liveness: &mut Liveness, start: Instant, until: u32) -> Vec<(u64, Due)> {
        let mut found = Vec::new();
        while liveness.next() <= start + until * SECOND {
            let now = liveness.next();
            let due = liveness.due(now, 0.5).expect("something is due when it said so");
            found.push(((now - start).as_secs(), due));
            if liveness.blocked_since.is_none() {
                liveness.written(now);
            }
            if matches!(due, Due::NotConnected | Due::NoPong | Due::SlowConsumer | Due::Leave) {
                break;
            }
        }
        found
    }

    #[test]
    fn a_tick_is_at_or_soon_after_the_deadline() {
        let start = Instant::now();
        let (clock, ms) = (Clock::new(start), Duration::from_millis);
        let tick = |at: Duration| clock.tick(start + at) - start;
        assert_eq!([ms(0), ms(1), ms(25), ms(26)].map(tick), [ms(0), ms(25), ms(25), ms(50)]);
        assert_eq!(tick(Duration::from_nanos(50_000_001)), ms(75));
    }

    #[test]
    fn a_client_that_does_not_connect_is_given_up() {
        let (mut liveness, start) = started();
        assert_eq!(run(&mut liveness, start, 60), [(5, Due::NotConnected)]);
    }

    #[test]
    fn a_ping_that_is_due_before_the_next_heartbeat_goes_with_this_one() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        let expected = [(7, Due::Heartbeat), (14, Due::Heartbeat), (14, Due::Ping)];
        assert_eq!(run(&mut liveness, start, 20), expected, "the ping was due at 20");
    }

    #[test]
    fn a_heartbeat_goes_with_what_is_written_shortly_before_its_time() {
        let (mut liveness, start) = started();
        assert!(!liveness.hurry(start + 30 * SECOND), "it is not connected");
        let (mut liveness, start) = started();
        liveness.connected(start);
        // A quarter of 7 s, and half of that as it was drawn.
        let (early, soon) = (start + Duration::from_millis(6_124), start + Duration::from_millis(6_125));
        assert!(!liveness.hurry(early));
        assert_eq!(liveness.due(early, 0.5), None);
        assert!(liveness.hurry(soon));
        assert_eq!(liveness.due(soon, 0.0), Some(Due::Heartbeat));
        assert_eq!(liveness.due(soon, 0.0), None);
        assert_eq!(liveness.next(), soon + 7 * SECOND, "the next one is an interval later");
        assert!(!liveness.hurry(soon + Duration::from_millis(6_999)), "drawn anew, it is not early");
    }

    #[test]
    fn one_event_for_many_sessions_does_not_bring_their_heartbeats_together() {
        // All that were in the last quarter of their interval took the same event, and no later one
        // parted them again.
        let (_, start) = started();
        let mut random = fastrand::Rng::with_seed(1);
        let mut sessions: Vec<_> = (0..1_000)
            .map(|session| {
                let mut liveness = Liveness::new(started().0.timing, start, random.f64());
                liveness.connected(start + session * SECOND / 100);
                liveness
            })
            .collect();
        let mut heartbeats = Vec::new();
        for second in 10..300 {
            let event = start + second * SECOND;
            let with_it = sessions.iter_mut().filter_map(|liveness| {
                liveness.hurry(event);
                let mut due = std::iter::from_fn(|| liveness.due(event, random.f64()));
                let has_heartbeat = due.by_ref().any(|due| due == Due::Heartbeat);
                let _others = due.count();
                liveness.written(event);
                liveness.heard();
                has_heartbeat.then_some(())
            });
            heartbeats.push(with_it.count());
        }
        let most = heartbeats[200..].iter().max();
        assert!(most.is_some_and(|most| *most < 400), "{heartbeats:?}");
    }

    #[test]
    fn a_client_that_is_silent_after_a_ping_is_given_up() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        let expected = [
            (7, Due::Heartbeat),
            (14, Due::Heartbeat),
            (14, Due::Ping),
            (21, Due::Heartbeat),
            (24, Due::NoPong),
        ];
        assert_eq!(run(&mut liveness, start, 60), expected);
    }

    #[test]
    fn a_client_that_answers_lives() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        for round in 1..10 {
            let due = run(&mut liveness, start, 14 * round);
            assert!(due.contains(&(u64::from(14 * round), Due::Ping)), "{due:?}");
            liveness.heard();
        }
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up_and_one_that_takes_a_little_is_not() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        liveness.blocked(start);
        liveness.blocked(start + 5 * SECOND);
        assert_eq!(run(&mut liveness, start, 60).last(), Some(&(15, Due::SlowConsumer)));

        let (mut liveness, start) = started();
        liveness.connected(start);
        liveness.blocked(start);
        liveness.progressed(start + 10 * SECOND);
        assert_eq!(run(&mut liveness, start, 24).last(), Some(&(21, Due::Heartbeat)));
        assert_eq!(run(&mut liveness, start, 60).last(), Some(&(25, Due::SlowConsumer)));
    }

    #[test]
    fn a_pong_is_awaited_from_the_moment_at_which_its_ping_is_written() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        liveness.blocked(start + 13 * SECOND);
        assert_eq!(
            run(&mut liveness, start, 27).last(),
            Some(&(21, Due::Heartbeat)),
            "the pong was due at 24"
        );
        liveness.written(start + 27 * SECOND);
        assert_eq!(run(&mut liveness, start, 60).last(), Some(&(37, Due::NoPong)));
    }

    #[test]
    fn a_client_that_stays_on_a_draining_node_is_closed() {
        let (mut liveness, start) = started();
        liveness.connected(start);
        liveness.leave_by(start + 3 * SECOND);
        assert_eq!(run(&mut liveness, start, 60), [(3, Due::Leave)]);
    }
}
