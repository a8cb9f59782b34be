//! When a session pings, heartbeats and gives up: plain rules, time is an argument.

use std::time::{Duration, Instant};

use crate::config::SessionsConfig;

/// What a session has to do by when.
#[derive(Debug)]
pub(crate) struct Liveness {
    timing: Timing,
    connect_by: Option<Instant>,
    ping_at: Instant,
    /// A ping waits to be written.
    ping_waits: bool,
    pong_by: Option<Instant>,
    /// `None` until the session is connected.
    heartbeat_at: Option<Instant>,
    /// How long before that it may go with something else. Drawn anew for each: otherwise one event for many sessions would have
    /// the heartbeats of all of them from then on, and the pings, and the pongs.
    early: Duration,
    /// Since when the socket has taken nothing of what waits.
    blocked_since: Option<Instant>,
    leave_by: Option<Instant>,
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

/// A heartbeat comes before its time by at most so much of its interval.
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

/// The ticks at which all sessions of a node look at their deadlines. Thousands of sessions with a clock each would wake the
/// node at every millisecond, for one of them.
#[derive(Debug)]
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
    /// Starts at the upgrade. `jitter`, 0 to 1, spreads the pings and heartbeats of sessions that began, or get something, at once.
    pub(crate) fn new(timing: Timing, now: Instant, jitter: f64) -> Self {
        Self {
            timing,
            connect_by: Some(now + timing.connect_deadline),
            ping_at: now + timing.ping_interval.mul_f64(0.9 + jitter * 0.2),
            ping_waits: false,
            pong_by: None,
            heartbeat_at: None,
            early: timing.early(jitter),
            blocked_since: None,
            leave_by: None,
        }
    }

    pub(crate) fn connected(&mut self, now: Instant) {
        self.connect_by = None;
        self.heartbeat_at = Some(now + self.timing.heartbeat_interval);
    }

    /// Something came from the client: it lives.
    pub(crate) fn heard(&mut self) {
        self.pong_by = None;
        self.ping_waits = false;
    }

    /// The client made room for something: it lives, however slowly it takes.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.blocked_since = self.blocked_since.map(|_| now);
        self.pong_by = self.pong_by.map(|_| now + self.timing.pong_deadline);
    }

    /// Something waits to be written, and the socket takes nothing.
    pub(crate) fn blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// The socket took what waited. From here on the ping that was among it can be answered: one behind data that the
    /// socket does not take cannot, and the write deadline judges that.
    pub(crate) fn written(&mut self, now: Instant) {
        self.blocked_since = None;
        if std::mem::take(&mut self.ping_waits) {
            self.pong_by.get_or_insert(now + self.timing.pong_deadline);
        }
    }

    pub(crate) fn leave_by(&mut self, by: Instant) {
        self.leave_by = Some(by);
    }

    /// Returns when to call [`Liveness::due`] next.
    pub(crate) fn next(&self) -> Instant {
        let write_by = self.blocked_since.map(|since| since + self.timing.write_deadline);
        let others = [self.connect_by, self.pong_by, self.heartbeat_at, write_by, self.leave_by];
        others.into_iter().flatten().fold(self.ping_at, Instant::min)
    }

    /// Something is about to be written: makes a heartbeat due that soon would be, since with that it costs no write of its own.
    /// Returns whether there is one.
    pub(crate) fn hurry(&mut self, now: Instant) -> bool {
        let is_soon = self.heartbeat_at.is_some_and(|at| at <= now + self.early);
        if is_soon {
            self.heartbeat_at = self.heartbeat_at.min(Some(now));
        }
        is_soon
    }

    /// Returns what is due, the worst first. Called until it returns `None`.
    pub(crate) fn due(&mut self, now: Instant, jitter: f64) -> Option<Due> {
        let is_over = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        if is_over(self.connect_by) {
            return Some(Due::NotConnected);
        }
        if is_over(self.blocked_since.map(|since| since + self.timing.write_deadline)) {
            return Some(Due::SlowConsumer);
        }
        if is_over(self.leave_by) {
            return Some(Due::Leave);
        }
        if is_over(self.pong_by) {
            return Some(Due::NoPong);
        }
        if self.ping_at <= now {
            self.ping_at = now + self.timing.ping_interval.mul_f64(0.9 + jitter * 0.2);
            self.ping_waits = true;
            return Some(Due::Ping);
        }
        if is_over(self.heartbeat_at) {
            let next = now + self.timing.heartbeat_interval;
            self.heartbeat_at = Some(next);
            self.early = self.timing.early(jitter);
            // With the heartbeat it costs no write of its own.
            if self.ping_at < next {
                self.ping_at = now;
            }
            return Some(Due::Heartbeat);
        }
        None
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

    /// Lets time pass up to `until` seconds, calling as the session does, and notes what was due when. The socket takes
    /// everything at once, unless it is blocked.
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
        // All that were in the last quarter of their interval took the same event, and no later one parted them again.
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
