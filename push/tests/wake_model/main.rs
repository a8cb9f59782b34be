//! The doorbell and the fan-out's queue in every interleaving of a few threads, under the memory
//! model of C11.
//!
//! The sources are those of the node; only `sync` is another one, with [loom]'s primitives. loom
//! and not shuttle, because it is exhaustive, and because its atomics have the orderings that are
//! written, where shuttle's are all sequentially consistent. A module for a module instead of
//! `--cfg loom`, which would compile tokio for loom too.
//!
//! Checked in every execution: what is appended is taken, so no wake-up is lost (loom reports
//! threads that sleep for ever); a session has one place in the queue at most; the counts of
//! threads are right, at work and at rest.

#![expect(dead_code, reason = "a model needs a part of what the node needs")]

#[path = "../../src/wake/delay_queue.rs"]
mod delay_queue;
#[path = "../../src/wake/doorbell.rs"]
mod doorbell;
#[path = "../../src/wake/fan_out.rs"]
mod fan_out;
#[path = "../../src/wake/pace.rs"]
mod pace;
mod sync;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize as Count, Ordering::Relaxed},
    },
    time::Duration,
};

use loom::{model::Builder, thread};

use self::{
    doorbell::{CursorId, Doorbell, Ringer, Serve},
    fan_out::{FanOut, Limits, Metrics},
    pace::Pace,
    sync::{AtomicBool, AtomicUsize, Mutex, Ordering, now},
};

/// A session whose records are numbers.
struct Session {
    doorbell: Arc<Doorbell>,
    ringers: Vec<Arc<Ringer>>,
    /// How many records were appended for each cursor. Relaxed, so that only the doorbell orders
    /// what is read of them.
    appended: Vec<AtomicUsize>,
    /// How many of them were taken, behind the session's lock.
    taken: Mutex<Vec<usize>>,
    /// How many records there will be for all cursors.
    expected: usize,
}

/// A fan-out with threads that serve it.
struct Running {
    fan_out: Arc<FanOut>,
    is_closing: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Session {
    fn new(cursors: usize, expected: usize) -> Arc<Self> {
        let doorbell = Arc::new(Doorbell::default());
        let ringer = |cursor| Ringer::new(Arc::clone(&doorbell), CursorId(cursor));
        let session = Arc::new(Self {
            ringers: (0..cursors).map(ringer).collect(),
            doorbell,
            appended: (0..cursors).map(|_| AtomicUsize::new(0)).collect(),
            taken: Mutex::new(vec![0; cursors]),
            expected,
        });
        let weak = Arc::downgrade(&session);
        session.doorbell.set_session(weak);
        session
    }

    /// Appends a record. Returns the doorbell if it has to be queued.
    fn append(&self, cursor: usize) -> Option<Arc<Doorbell>> {
        self.appended[cursor].fetch_add(1, Ordering::Relaxed);
        self.ringers[cursor].ring().cloned()
    }

    /// Takes what is new. Returns whether that was the last of it.
    fn take(&self, taken: &mut [usize]) -> bool {
        let mut news = Vec::new();
        self.doorbell.take_news(&mut news, |id| self.ringers.get(id.0));
        for id in news {
            taken[id.0] = self.appended[id.0].load(Ordering::Relaxed);
        }
        taken.iter().sum::<usize>() == self.expected
    }

    /// Does what the session's task does, until everything is taken.
    fn run_task(&self) {
        loom::future::block_on(async {
            loop {
                self.doorbell.rung().await;
                if self.take(&mut self.taken.lock()) {
                    return;
                }
            }
        });
    }
}

impl Serve for Session {
    fn serve(&self) -> bool {
        // The end is left to the task, which has to hear of it.
        self.taken.try_lock().is_some_and(|mut taken| !self.take(&mut taken))
    }
}

impl Running {
    fn new(threads: usize, inline_max: usize) -> Self {
        let limits = Limits { threads, batch_max: 1, inline_max };
        let pace = Pace::new(Duration::ZERO, 1, now());
        let fan_out = FanOut::with_limits(limits, pace, now(), Metrics::default());
        let is_closing = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|_| {
                let (fan_out, is_closing) = (Arc::clone(&fan_out), Arc::clone(&is_closing));
                thread::spawn(move || fan_out.run(|| is_closing.load(Ordering::Acquire)))
            })
            .collect();
        Self { fan_out, is_closing, threads }
    }

    /// Checks the places and counts, which hold whenever the queue is not locked.
    fn check(&self, sessions: &[&Session]) {
        let queue = self.fan_out.queue.lock();
        for session in sessions {
            let places = queue.ready.iter().filter(|place| Arc::ptr_eq(place, &session.doorbell)).count();
            assert!(places <= 1, "a session has {places} places in the queue");
        }
        let (awake, sleeping, threads) = (queue.awake, self.fan_out.wake_up.sleeping(), self.threads.len());
        assert!(awake + sleeping <= threads, "{awake} awake and {sleeping} asleep of {threads}");
    }

    /// Closes, and checks that nothing is left.
    fn stop(self) {
        self.is_closing.store(true, Ordering::Release);
        self.fan_out.wake_all();
        for thread in self.threads {
            thread.join().expect("it ends");
        }
        let queue = self.fan_out.queue.lock();
        assert_eq!((queue.awake, self.fan_out.wake_up.sleeping()), (0, 0), "no thread is left");
        assert!(queue.ready.is_empty() && queue.delayed.next_us().is_none(), "no session is left");
    }
}

/// Runs a model in every interleaving with up to so many preemptions, and prints how many those
/// are.
#[expect(clippy::print_stdout, reason = "the number of interleavings is a result")]
fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let count = Arc::new(Count::new(0));
    let executions = Arc::clone(&count);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        executions.fetch_add(1, Relaxed);
        model();
    });
    println!("{name}: {} interleavings with up to {preemptions} preemptions", count.load(Relaxed));
}

#[test]
fn a_doorbell_loses_no_ring_of_two_feeds() {
    explore("two feeds", 3, || {
        let session = Session::new(2, 3);
        let feeds: Vec<_> = [vec![0, 0], vec![1]]
            .into_iter()
            .map(|cursors| {
                let session = Arc::clone(&session);
                thread::spawn(move || {
                    for cursor in cursors {
                        if let Some(doorbell) = session.append(cursor) {
                            doorbell.serve(1);
                        }
                    }
                })
            })
            .collect();
        session.run_task();
        feeds.into_iter().for_each(|feed| feed.join().expect("it ends"));
    });
}

#[test]
fn an_alert_reaches_the_task_of_a_cursor_that_does_not_listen() {
    explore("an alert", 2, || {
        let session = Session::new(1, 2);
        let feed = {
            let session = Arc::clone(&session);
            thread::spawn(move || {
                if let Some(doorbell) = session.append(0) {
                    doorbell.serve(1);
                }
            })
        };
        let closing = {
            let session = Arc::clone(&session);
            thread::spawn(move || {
                // The end of a partition stands for a record here.
                session.appended[0].fetch_add(1, Ordering::Relaxed);
                session.ringers[0].alert();
            })
        };
        session.run_task();
        feed.join().expect("it ends");
        closing.join().expect("it ends");
    });
}

#[test]
fn a_thread_takes_every_session_that_is_queued_while_it_falls_asleep() {
    explore("one thread", 3, || {
        let running = Running::new(1, 0);
        let session = Session::new(1, 2);
        for _ in 0..2 {
            running.fan_out.serve(session.append(0).into_iter().collect());
            running.check(&[&session]);
        }
        session.run_task();
        running.check(&[&session]);
        running.stop();
    });
}

#[test]
fn two_threads_share_two_sessions() {
    explore("two threads", 2, || {
        let running = Running::new(2, 0);
        let sessions = [Session::new(1, 2), Session::new(1, 1)];
        running.fan_out.serve(sessions.iter().filter_map(|session| session.append(0)).collect());
        running.check(&[&sessions[0], &sessions[1]]);
        running.fan_out.serve(sessions[0].append(0).into_iter().collect());
        running.check(&[&sessions[0], &sessions[1]]);
        sessions.iter().for_each(|session| session.run_task());
        running.check(&[&sessions[0], &sessions[1]]);
        running.stop();
    });
}

#[test]
fn a_feed_that_serves_inline_and_a_thread_lose_nothing_between_them() {
    explore("inline", 2, || {
        let running = Running::new(1, 16);
        let session = Session::new(2, 2);
        let feed = {
            let (session, fan_out) = (Arc::clone(&session), Arc::clone(&running.fan_out));
            thread::spawn(move || fan_out.serve(session.append(0).into_iter().collect()))
        };
        running.fan_out.serve(session.append(1).into_iter().collect());
        running.check(&[&session]);
        session.run_task();
        feed.join().expect("it ends");
        running.stop();
    });
}
