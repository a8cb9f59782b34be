//! Fan-out: the threads that attend to sessions whose channels have something new.
//!
//! The feed rings doorbells and gives them to a queue; a thread takes them out and lets each session write to its socket
//! there and then. So an event wakes one thread, and not a task for each of its subscribers, and while there is more than a
//! thread can do at once, others come to help. Who rings for a few, while all of them sleep, attends to those itself.
//!
//! Under load a client is attended to less often ([`Pace`]): what comes meanwhile goes out in one message.
//!
//! What is deliberately absent: waiting. A session whose socket takes nothing is left to its task.
//!
//! Bounds: a doorbell waits, is put off or is with a thread, and in no two of them; while its session is attended to it may
//! wait once more. So there are at most as many in the queue as sessions.
//!
//! Invariant: whoever waits is taken out by a thread that is awake, or by one that was called and woke up for it. `awake`
//! is never more than there are threads that will look at the queue before they sleep.

mod delay_queue;
mod pace;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    num::NonZero,
    sync::{Arc, atomic::AtomicU64},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use tailcast_services::lifecycle::Lifecycle;

use self::{delay_queue::DelayQueue, pace::Pace};
use crate::{config, wake::doorbell::Doorbell};

/// The queue of sessions that have news, and the threads that attend to them.
#[derive(Debug)]
pub(crate) struct FanOut {
    queue: Mutex<Queue>,
    called: Condvar,
    /// What the clock of all this counts from.
    start: Instant,
    threads: usize,
    /// How many sessions whoever rings attends to itself while no thread is awake.
    few: usize,
    metrics: Metrics,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Arc<Doorbell>>,
    /// Those that were attended to a moment ago.
    put_off: DelayQueue<Arc<Doorbell>>,
    pace: Pace,
    /// How many threads attend to sessions, or were called to.
    awake: usize,
    /// For when one of those that sleep has set its alarm, because of those that were put off.
    alarm_us: Option<u64>,
}

#[derive(Debug, Default)]
struct Metrics {
    waiting: Gauge,
    pause: Gauge<f64, AtomicU64>,
}

/// How many sessions a thread takes at once. As many may wait for each that is awake before another one is called: to be woken
/// costs as much as some sessions.
const SHARE: usize = 64;
/// At most so many are attended to by who rings: a fraction of a millisecond.
const FEW: usize = 16;
/// Maximum sleep of a thread while there is a pause: a node that has come to rest shortens it without work.
const PACE_INTERVAL: Duration = Duration::from_millis(100);

impl FanOut {
    /// Makes a queue that no thread serves yet.
    pub(crate) fn new(config: &config::FanOutConfig, registry: &mut Registry) -> Arc<Self> {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("tailcast_push_fan_out");
        let help = "Sessions with something new that no thread has taken yet, without those that are put off";
        registry.register("waiting", help, metrics.waiting.clone());
        let help = "How long a session is left alone after it was attended to";
        registry.register_with_unit("pause", help, Unit::Seconds, metrics.pause.clone());
        let (cores, start) = (available_parallelism().map_or(1, NonZero::get), Instant::now());
        let queue = Queue {
            waiting: VecDeque::new(),
            put_off: DelayQueue::default(),
            pace: Pace::new(config.pause_max, cores, start),
            awake: 0,
            alarm_us: None,
        };
        Arc::new(Self {
            queue: Mutex::new(queue),
            called: Condvar::new(),
            start,
            threads: if config.threads == 0 { cores } else { config.threads },
            few: FEW,
            metrics,
        })
    }

    /// Makes a queue that nobody ever serves.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn idle() -> Arc<Self> {
        Self::for_threads_alone(&config::FanOutConfig { threads: 1, pause_max: Duration::ZERO })
    }

    /// Makes a queue for threads: who rings attends to nobody.
    #[cfg(any(test, feature = "benchmarks"))]
    fn for_threads_alone(config: &config::FanOutConfig) -> Arc<Self> {
        let mut fan_out = Self::new(config, &mut Registry::default());
        Arc::get_mut(&mut fan_out).expect("nobody else has it yet").few = 0;
        fan_out
    }

    /// Attends to everybody who waits, on this thread.
    #[cfg(feature = "benchmarks")]
    pub(crate) fn attend_here(&self) {
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        waiting.iter().for_each(|doorbell| doorbell.attend(0));
    }

    /// Starts the threads; they end when the process closes.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a thread.
    pub(crate) fn start(self: &Arc<Self>, lifecycle: &Lifecycle) -> io::Result<()> {
        for _ in 0..self.threads {
            let (fan_out, phases) = (Arc::clone(self), lifecycle.clone());
            lifecycle.supervise_thread("fan-out", move || {
                fan_out.run(&phases);
                Ok::<_, Infallible>(())
            })?;
        }
        let fan_out = Arc::clone(self);
        lifecycle.on_closing("fan-out-end", move || fan_out.wake_all());
        Ok(())
    }

    /// Wakes every thread that sleeps, so that it sees that the process closes.
    fn wake_all(&self) {
        let mut queue = self.queue.lock();
        // The waker counts a thread as awake.
        queue.awake += self.called.notify_all();
    }

    /// Has sessions attended to. The caller does it itself when they are few and no thread is at work, since to wake one takes
    /// as long; otherwise it does not wait for it. Called without any lock.
    pub(crate) fn attend(&self, mut rung: Vec<Arc<Doorbell>>) {
        if rung.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        if rung.len() <= self.few && queue.awake == 0 && queue.waiting.is_empty() {
            let pause_us = micros(queue.pace.pause());
            drop(queue);
            let began = Instant::now();
            self.attend_due(&mut rung, began, pause_us);
            queue = self.queue.lock();
            let ended = Instant::now();
            self.worked(&mut queue, ended, ended - began);
            if rung.is_empty() {
                return;
            }
        }
        queue.waiting.extend(rung);
        self.call(&mut queue);
    }

    /// Shows how many wait, and calls a thread if those that are awake have more than enough to do.
    fn call(&self, queue: &mut Queue) {
        self.metrics.waiting.set(i64::try_from(queue.waiting.len()).unwrap_or(i64::MAX));
        let is_wanted = queue.awake < self.threads && queue.waiting.len() > queue.awake * SHARE;
        // Nobody hears it where those who sleep are about to wake up by themselves, or have not begun. They look before
        // they sleep, and count themselves.
        if is_wanted && self.called.notify_one() {
            queue.awake += 1;
        }
    }

    fn run(&self, lifecycle: &Lifecycle) {
        let mut hand = Vec::with_capacity(SHARE);
        self.queue.lock().awake += 1;
        while let Some(pause_us) = self.take(&mut hand, lifecycle) {
            let began = Instant::now();
            self.attend_due(&mut hand, began, pause_us);
            let mut queue = self.queue.lock();
            for early in hand.drain(..) {
                queue.put_off.until(early.attended_us() + pause_us, early);
            }
            let ended = Instant::now();
            self.worked(&mut queue, ended, ended - began);
        }
        self.queue.lock().awake -= 1;
    }

    /// Attends to sessions, but for those that were attended to a moment ago: they are left.
    fn attend_due(&self, rung: &mut Vec<Arc<Doorbell>>, now: Instant, pause_us: u64) {
        let now_us = self.clock_us(now);
        let is_early = |doorbell: &Doorbell| doorbell.attended_us() + pause_us > now_us;
        // Thousands of sessions are in no cache. Looked at one after the other, without a lock between, the processor fetches
        // them side by side; attended to unseen, each is waited for.
        let seen = rung.iter().filter(|doorbell| !is_early(doorbell) && doorbell.is_served()).count();
        std::hint::black_box(seen);
        rung.retain(|doorbell| {
            let is_left = is_early(doorbell);
            if !is_left {
                doorbell.attend(now_us);
            }
            is_left
        });
    }

    fn worked(&self, queue: &mut Queue, now: Instant, busy: Duration) {
        if queue.pace.worked(now, busy) {
            self.metrics.pause.set(queue.pace.pause().as_secs_f64());
        }
    }

    /// Waits for sessions that have news. Returns how long after the last time they are to be attended to, in microseconds; `None`
    /// once the process closes.
    fn take(&self, hand: &mut Vec<Arc<Doorbell>>, lifecycle: &Lifecycle) -> Option<u64> {
        let mut queue = self.queue.lock();
        loop {
            let Queue { waiting, put_off, .. } = &mut *queue;
            put_off.take_due(self.clock_us(Instant::now()), |doorbell| waiting.push_back(doorbell));
            if !waiting.is_empty() {
                break;
            }
            if lifecycle.is_closing() {
                return None;
            }
            self.sleep(&mut queue);
            // A node that has come to rest has time again, though there is no work to tell it.
            self.worked(&mut queue, Instant::now(), Duration::ZERO);
        }
        let share = queue.waiting.len().min(SHARE);
        hand.extend(queue.waiting.drain(..share));
        self.call(&mut queue);
        Some(micros(queue.pace.pause()))
    }

    /// Sleeps until called, or until somebody is due who was put off: one thread is enough to watch the clock.
    fn sleep(&self, queue: &mut MutexGuard<'_, Queue>) {
        let mut until = (!queue.pace.pause().is_zero()).then(|| Instant::now() + PACE_INTERVAL);
        let due_us = queue.put_off.next_us();
        let alarm_us = due_us.filter(|due_us| queue.alarm_us.is_none_or(|alarm_us| *due_us < alarm_us));
        if let Some(alarm_us) = alarm_us {
            queue.alarm_us = Some(alarm_us);
            let alarm = self.start + Duration::from_micros(alarm_us);
            until = Some(until.map_or(alarm, |until| until.min(alarm)));
        }
        queue.awake -= 1;
        let has_timed_out = match until {
            Some(until) => self.called.wait_until(queue, until).timed_out(),
            None => {
                self.called.wait(queue);
                false
            }
        };
        if has_timed_out {
            // Who calls has counted already.
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

#[cfg(test)]
mod tests;
