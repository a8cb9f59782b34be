//! Fan-out: the queue of sessions that have something new, and how threads take from it.
//!
//! The feed rings doorbells and hands them to the queue. A thread takes a batch and lets each
//! session write to its socket on the spot. So an event wakes one thread instead of a task for each
//! subscriber, and more threads help while there is more than one can do. A feed that rang only a
//! few sessions, while all threads sleep, serves those inline.
//!
//! Under load a session is served less often ([`Pace`]): the records of the meantime go out in one
//! message.
//!
//! What is deliberately absent: waiting. A session whose socket is blocked is left to its task.
//!
//! Bounds: a doorbell is in the queue, delayed, or with a thread, and never in two of these; while
//! its session is being served it may be queued once more. So the queue has at most one entry per
//! session.
//!
//! Invariant: every queued session is taken by a thread that is awake, or by one that was woken for
//! it. `awake` is never more than the number of threads that will look at the queue before they
//! sleep.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use super::{
    delay_queue::DelayQueue,
    doorbell::Doorbell,
    pace::Pace,
    sync::{Condvar, Mutex, MutexGuard, now},
};

/// The queue of sessions that have something new.
#[derive(Debug)]
pub(crate) struct FanOut {
    pub(super) queue: Mutex<Queue>,
    pub(super) wake_up: Condvar,
    /// What the clock of all this counts from.
    start: Instant,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
}

/// How many sessions are served by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) threads: usize,
    /// How many sessions a thread takes at once. As many may be queued for each thread that is
    /// awake before another one is woken: waking one costs as much as serving some sessions.
    pub(super) batch_max: usize,
    /// How many sessions the ringing thread serves inline while no thread is awake.
    pub(super) inline_max: usize,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) ready: VecDeque<Arc<Doorbell>>,
    /// Sessions that have something new, and were served a moment ago.
    pub(super) delayed: DelayQueue<Arc<Doorbell>>,
    pub(super) pace: Pace,
    /// How many threads serve sessions, or were woken to.
    pub(super) awake: usize,
    /// The earliest alarm of a sleeping thread for delayed sessions.
    alarm_us: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) waiting: Gauge,
    pub(super) pause: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// Maximum sleep of a thread while there is a pause: a node that has come to rest shortens it
/// without work.
const PACE_INTERVAL: Duration = Duration::from_millis(100);

impl FanOut {
    /// Makes a queue that no thread serves yet.
    pub(super) fn with_limits(limits: Limits, pace: Pace, start: Instant, metrics: Metrics) -> Arc<Self> {
        let queue =
            Queue { ready: VecDeque::new(), delayed: DelayQueue::default(), pace, awake: 0, alarm_us: None };
        Arc::new(Self { queue: Mutex::new(queue), wake_up: Condvar::new(), start, limits, metrics })
    }

    /// Serves everything in the queue, on this thread.
    #[cfg(feature = "benchmarks")]
    pub(crate) fn serve_here(&self) {
        let ready = std::mem::take(&mut self.queue.lock().ready);
        ready.iter().for_each(|doorbell| doorbell.serve(0));
    }

    /// Wakes every sleeping thread, so that it sees that the process closes.
    pub(super) fn wake_all(&self) {
        let mut queue = self.queue.lock();
        // A thread that is woken counts as awake from here on.
        queue.awake += self.wake_up.notify_all();
    }

    /// Has sessions served. The caller serves them itself when they are few and no thread is awake,
    /// since waking one takes as long; otherwise it does not wait for it. Called without any lock.
    pub(crate) fn serve(&self, mut rung: Vec<Arc<Doorbell>>) {
        if rung.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        if rung.len() <= self.limits.inline_max && queue.awake == 0 && queue.ready.is_empty() {
            let pause_us = micros(queue.pace.pause());
            drop(queue);
            let began = now();
            self.serve_due(&mut rung, began, pause_us);
            queue = self.queue.lock();
            let ended = now();
            self.record_work(&mut queue, ended, ended - began);
            // Threads that went to sleep without a pause have no alarm, and one has to shorten it.
            let has_begun = pause_us == 0 && !queue.pace.pause().is_zero();
            if has_begun && queue.awake == 0 {
                self.notify(&mut queue);
            }
            if rung.is_empty() {
                return;
            }
        }
        queue.ready.extend(rung);
        self.wake_thread(&mut queue);
    }

    /// Updates the metric, and wakes a thread if those that are awake have more than enough to do.
    fn wake_thread(&self, queue: &mut Queue) {
        self.metrics.waiting.set(i64::try_from(queue.ready.len()).unwrap_or(i64::MAX));
        let Limits { threads, batch_max, .. } = self.limits;
        let is_wanted = queue.awake < threads && queue.ready.len() > queue.awake * batch_max;
        if is_wanted {
            self.notify(queue);
        }
    }

    /// Wakes a sleeping thread. Does nothing where the sleeping threads are about to wake up by
    /// themselves, or have not started: they look before they sleep, and count themselves.
    fn notify(&self, queue: &mut Queue) {
        if self.wake_up.notify_one() {
            queue.awake += 1;
        }
    }

    /// Serves sessions until the process closes.
    pub(super) fn run(&self, is_closing: impl Fn() -> bool) {
        let mut batch = Vec::with_capacity(self.limits.batch_max);
        self.queue.lock().awake += 1;
        while let Some(pause_us) = self.take(&mut batch, &is_closing) {
            let began = now();
            self.serve_due(&mut batch, began, pause_us);
            let mut queue = self.queue.lock();
            for early in batch.drain(..) {
                queue.delayed.until(early.served_us() + pause_us, early);
            }
            let ended = now();
            self.record_work(&mut queue, ended, ended - began);
        }
        self.queue.lock().awake -= 1;
    }

    /// Serves sessions, except those that were served a moment ago: they are left in `rung`.
    fn serve_due(&self, rung: &mut Vec<Arc<Doorbell>>, now: Instant, pause_us: u64) {
        let now_us = self.clock_us(now);
        let is_early = |doorbell: &Doorbell| doorbell.served_us() + pause_us > now_us;
        // Thousands of sessions are in no cache. Read one after the other, without a lock between,
        // the processor fetches them side by side; served unread, each is waited for.
        let seen = rung.iter().filter(|doorbell| !is_early(doorbell) && doorbell.is_served()).count();
        std::hint::black_box(seen);
        rung.retain(|doorbell| {
            let is_left = is_early(doorbell);
            if !is_left {
                doorbell.serve(now_us);
            }
            is_left
        });
    }

    fn record_work(&self, queue: &mut Queue, now: Instant, busy: Duration) {
        if queue.pace.worked(now, busy) {
            self.metrics.pause.set(queue.pace.pause().as_secs_f64());
        }
    }

    /// Waits for sessions that have something new. Returns the shortest time between two services
    /// of a session, in microseconds; `None` once the process closes.
    fn take(&self, batch: &mut Vec<Arc<Doorbell>>, is_closing: impl Fn() -> bool) -> Option<u64> {
        let mut queue = self.queue.lock();
        loop {
            let Queue { ready, delayed, .. } = &mut *queue;
            delayed.take_due(self.clock_us(now()), |doorbell| ready.push_back(doorbell));
            if !ready.is_empty() {
                break;
            }
            if is_closing() {
                return None;
            }
            self.sleep(&mut queue);
            // The pause of a node that has come to rest gets shorter, though no work reports it.
            self.record_work(&mut queue, now(), Duration::ZERO);
        }
        let count = queue.ready.len().min(self.limits.batch_max);
        batch.extend(queue.ready.drain(..count));
        self.wake_thread(&mut queue);
        Some(micros(queue.pace.pause()))
    }

    /// Sleeps until woken, or until a delayed session is due: one thread is enough to watch the
    /// clock.
    fn sleep(&self, queue: &mut MutexGuard<'_, Queue>) {
        let mut until = (!queue.pace.pause().is_zero()).then(|| now() + PACE_INTERVAL);
        let due_us = queue.delayed.next_us();
        let alarm_us = due_us.filter(|due_us| queue.alarm_us.is_none_or(|alarm_us| *due_us < alarm_us));
        if let Some(alarm_us) = alarm_us {
            queue.alarm_us = Some(alarm_us);
            let alarm = self.start + Duration::from_micros(alarm_us);
            until = Some(until.map_or(alarm, |until| until.min(alarm)));
        }
        queue.awake -= 1;
        let has_timed_out = match until {
            Some(until) => self.wake_up.wait_until(queue, until).timed_out(),
            None => {
                self.wake_up.wait(queue);
                false
            }
        };
        if has_timed_out {
            // A thread that is notified was counted by the notifier.
            queue.awake += 1;
        }
        if alarm_us.is_some() && queue.alarm_us == alarm_us {
            queue.alarm_us = None;
        }
    }

    fn clock_us(&self, now: Instant) -> u64 {
        micros(now - self.start)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
