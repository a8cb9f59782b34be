//! The queue with its threads, and sessions that stand for real ones: what is appended for them is
//! a number.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use parking_lot::Mutex;
use tailcast_services::lifecycle::Ending;

use super::*;
use crate::wake::doorbell::{CursorId, Doorbell, Ringer, Serve};

/// How long anything may take that is waited for: much longer than it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fan-out and its threads.
struct Running {
    fan_out: Arc<FanOut>,
    lifecycle: Lifecycle,
}

/// A session with a few cursors.
struct Session {
    doorbell: Arc<Doorbell>,
    ringers: Vec<Arc<Ringer>>,
    /// How much was appended for each cursor.
    appended: Vec<AtomicUsize>,
    taken: Mutex<Taken>,
    /// At each multiple of this number of services it leaves everything to its task; 0: never.
    leaves_every: usize,
}

#[derive(Default)]
struct Taken {
    of: Vec<usize>,
    served: usize,
}

/// A session that meets a bug.
struct Broken;

/// A session whose service takes long enough for a pause.
struct Busy;

impl Running {
    fn new(threads: usize, pause_max: Duration) -> Self {
        let running = Self::idle(threads, pause_max);
        running.start();
        running
    }

    fn idle(threads: usize, pause_max: Duration) -> Self {
        let fan_out = FanOut::without_inline(&config::FanOutConfig { threads, pause_max });
        Self { fan_out, lifecycle: Lifecycle::new() }
    }

    fn start(&self) {
        self.fan_out.start(&self.lifecycle).expect("the system has threads");
    }

    /// Makes the pause the maximum, for longer than a test runs.
    fn under_load(self) -> Self {
        let mut now = Instant::now();
        for _ in 0..30 {
            now += Duration::from_secs(1);
            self.fan_out.queue.lock().pace.worked(now, Duration::from_secs(1_000));
        }
        self
    }

    fn ring(&self, ringer: &Ringer) {
        self.fan_out.serve(ringer.ring().into_iter().cloned().collect());
    }

    /// Waits until no thread counts as awake: at rest each of them sleeps, but for a look now and
    /// then.
    async fn rest(&self) {
        until("all threads sleep", || {
            let queue = self.fan_out.queue.lock();
            queue.awake == 0 && queue.ready.is_empty() && queue.delayed.next_us().is_none()
        })
        .await;
    }

    async fn stop(&self) {
        self.lifecycle.drain();
        assert!(matches!(self.lifecycle.finish(PATIENCE).await, Ending::Clean));
        assert_eq!(self.fan_out.queue.lock().awake, 0);
    }
}

impl Session {
    fn new(cursors: usize, leaves_every: usize) -> Arc<Self> {
        let doorbell = Arc::new(Doorbell::default());
        let ringer = |id| Ringer::new(Arc::clone(&doorbell), CursorId(id));
        let session = Arc::new(Self {
            ringers: (0..cursors).map(ringer).collect(),
            doorbell,
            appended: (0..cursors).map(|_| AtomicUsize::new(0)).collect(),
            taken: Mutex::new(Taken { of: vec![0; cursors], ..Taken::default() }),
            leaves_every,
        });
        let weak = Arc::downgrade(&session);
        session.doorbell.set_session(weak);
        session
    }

    fn append(&self, cursor: usize, running: &Running) {
        self.appended[cursor].fetch_add(1, SeqCst);
        running.ring(&self.ringers[cursor]);
    }

    fn take(&self, taken: &mut Taken) {
        let mut news = Vec::new();
        self.doorbell.take_news(&mut news, |id| self.ringers.get(id.0));
        for id in news {
            taken.of[id.0] = self.appended[id.0].load(SeqCst);
        }
    }

    /// Starts its task, which ends when the process drains.
    fn start(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let (session, draining) = (Arc::clone(self), lifecycle.clone());
        lifecycle.spawn("session", async move {
            let serve = async {
                loop {
                    session.doorbell.rung().await;
                    session.take(&mut session.taken.lock());
                }
            };
            tokio::select! {
                () = draining.draining() => {}
                () = serve => {}
            }
        });
    }

    fn has_all(&self) -> bool {
        let taken = self.taken.lock();
        taken.of.iter().zip(&self.appended).all(|(taken, appended)| *taken == appended.load(SeqCst))
    }
}

impl Serve for Session {
    fn serve(&self) -> bool {
        let Some(mut taken) = self.taken.try_lock() else { return false };
        taken.served += 1;
        if taken.served.checked_rem(self.leaves_every) == Some(0) {
            return false;
        }
        self.take(&mut taken);
        true
    }
}

impl Serve for Busy {
    fn serve(&self) -> bool {
        let until = Instant::now() + Duration::from_millis(30);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        true
    }
}

impl Serve for Broken {
    fn serve(&self) -> bool {
        panic!("this session met a bug");
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("timeout: {what}"));
}

#[tokio::test]
async fn a_ring_before_the_threads_start_is_served_and_counts_none_as_awake() {
    // A thread that was woken before it had started counted as awake for ever: the others were
    // woken too late, or never.
    let running = Running::idle(2, Duration::ZERO);
    let session = Session::new(1, 0);
    session.start(&running.lifecycle);
    session.append(0, &running);
    running.start();
    until("the record is taken", || session.has_all()).await;
    running.rest().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_append_of_many_threads_is_taken_in_the_end() {
    for (threads, pause_max) in [(1, 0), (2, 0), (2, 1), (4, 3)] {
        let running = Arc::new(Running::new(threads, Duration::from_millis(pause_max)).under_load());
        let sessions: Arc<Vec<_>> = Arc::new((0..100).map(|id| Session::new(1 + id % 3, id % 5)).collect());
        for session in &*sessions {
            session.start(&running.lifecycle);
        }
        let appending = (0..3).map(|seed| {
            let (running, sessions) = (Arc::clone(&running), Arc::clone(&sessions));
            let lifecycle = running.lifecycle.clone();
            let append = move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    let session = &sessions[random.usize(..sessions.len())];
                    session.append(random.usize(..session.ringers.len()), &running);
                }
            };
            async move { lifecycle.blocking(append).await }
        });
        futures_util::future::join_all(appending).await;
        until("everything is taken", || sessions.iter().all(|session| session.has_all())).await;
        running.rest().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_session_that_panics_ends_no_other_session() {
    // The thread ended, so the process drained, and those whose turn was next heard of nothing any
    // more.
    let running = Running::idle(1, Duration::ZERO);
    let (broken, session) = (Arc::new(Broken), Session::new(1, 0));
    let doorbell = Arc::new(Doorbell::default());
    let weak = Arc::downgrade(&broken);
    doorbell.set_session(weak);
    session.start(&running.lifecycle);
    running.ring(&Ringer::new(doorbell, CursorId(0)));
    session.append(0, &running);
    running.start();
    until("the record is taken", || session.has_all()).await;
    assert!(!running.lifecycle.is_draining());
    running.stop().await;
}

#[tokio::test]
async fn under_load_a_session_is_served_less_often_and_not_forgotten() {
    let running = Running::new(2, Duration::from_millis(5)).under_load();
    let session = Session::new(1, 0);
    session.start(&running.lifecycle);
    session.append(0, &running);
    until("it is served", || session.doorbell.served_us() > 0).await;
    for _ in 0..20 {
        let before_us = session.doorbell.served_us();
        until("it is served again", || {
            // Each time, because a record that comes while it is served may be taken with the rest.
            session.append(0, &running);
            session.doorbell.served_us() > before_us
        })
        .await;
        let pause_us = session.doorbell.served_us() - before_us;
        assert!(pause_us >= 4_900, "{pause_us} us");
    }
    until("all records are taken", || session.has_all()).await;
    running.rest().await;
    running.stop().await;
}

#[tokio::test]
async fn the_pause_ends_when_the_node_comes_to_rest() {
    // It stayed what it was, and the metric with it, until there was work again.
    let running = Running::idle(1, Duration::from_millis(16));
    running.fan_out.queue.lock().pace.worked(Instant::now() + Duration::from_millis(20), PATIENCE);
    let pause = || running.fan_out.queue.lock().pace.pause();
    assert_eq!(pause(), Duration::from_millis(8));
    // Started last: a thread that goes to sleep while there is no pause sets itself no alarm.
    running.start();
    until("it is much shorter", || pause() < Duration::from_millis(2)).await;
    assert!(running.fan_out.metrics.pause.get() < 0.002);
    running.stop().await;
}

#[tokio::test]
async fn a_pause_that_inline_work_began_ends_when_the_node_comes_to_rest() {
    // All threads slept without an alarm, since there was no pause when they went to sleep.
    let config = config::FanOutConfig { threads: 1, pause_max: Duration::from_millis(16) };
    let fan_out = FanOut::with_inline_max(&config, 1, &mut Registry::default());
    let running = Running { fan_out, lifecycle: Lifecycle::new() };
    running.start();
    // Two at once are more than are served inline: the thread has begun, and sleeps again.
    let sessions = [Session::new(1, 0), Session::new(1, 0)];
    sessions.iter().for_each(|session| session.start(&running.lifecycle));
    let rung = sessions.iter().filter_map(|session| {
        session.appended[0].fetch_add(1, SeqCst);
        session.ringers[0].ring().cloned()
    });
    running.fan_out.serve(rung.collect());
    until("all records are taken", || sessions.iter().all(|session| session.has_all())).await;
    running.rest().await;
    let pause = || running.fan_out.queue.lock().pace.pause();
    until("there is no pause", || pause().is_zero()).await;

    let doorbell = Arc::new(Doorbell::default());
    let busy: Arc<dyn Serve> = Arc::new(Busy);
    doorbell.set_session(Arc::downgrade(&busy));
    running.ring(&Ringer::new(doorbell, CursorId(0)));
    assert!(!pause().is_zero() || running.fan_out.metrics.pause.get() > 0.0);
    until("it is much shorter", || pause() < Duration::from_millis(2)).await;
    running.stop().await;
}
