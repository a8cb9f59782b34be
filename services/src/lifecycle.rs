//! The lifecycle of a process: running, draining, closing.
//!
//! Every task and every thread is started by a [`Lifecycle`], so that draining waits for all of
//! them and can name those that are late. The end has two phases. While the process is *draining*,
//! it accepts no new work and finishes the accepted work: each session or stream has a [`Hold`].
//! When the process drains and the last hold is dropped, it is *closing*, and the threads and tasks
//! that feed sessions end too.
//!
//! Invariant: a supervised task ends only after draining began. If it ends earlier (done, failed or
//! panicked), the whole process drains, because the remaining tasks would look healthy but serve no
//! client.
//!
//! Deliberately absent: tasks are never aborted. A task that does not end holds
//! [`Lifecycle::finish`] until its deadline, and is named.

mod ending;
mod panics;
mod roster;
mod signals;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use ending::{Ending, Running, TaskFailure, Tasks};
pub(crate) use panics::panic_message;
use panics::{catch_panic, caught};
use roster::Roster;
use signals::Signals;

/// The time limit for draining: section `[drain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// From the signal to the exit. Must be less than the supervisor's grace period.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// A cheap handle to the lifecycle of this process: starts tasks, signals draining, waits for the
/// end.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

/// A phase of the end of a process, in which a background task or thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing new is accepted.
    Draining,
    /// Draining, and the last [`Hold`] was dropped.
    Closing,
}

/// Keeps a draining process from closing, for as long as a session or stream is served.
#[derive(Clone, Debug)]
pub struct Hold {
    _token: TaskTrackerToken,
}

#[derive(Debug, Default)]
struct Inner {
    draining: CancellationToken,
    /// Cancelled when all tracked tasks have ended; then companions stop.
    ended: CancellationToken,
    /// Closed when draining begins; empty when the last [`Hold`] is dropped. Both together are the
    /// second phase.
    holds: TaskTracker,
    /// Set when the second phase was first observed: a [`Hold`] that is requested too late is
    /// counted for a moment, and must not undo the phase.
    closing: AtomicBool,
    tracked: TaskTracker,
    companions: TaskTracker,
    roster: Roster,
    failure: Mutex<Option<(&'static str, TaskFailure)>>,
    signals: Mutex<Option<Signals>>,
}

impl Lifecycle {
    /// A running process without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that may end at any time, such as one connection. A panic ends only this task.
    pub fn spawn<F>(&self, task: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let present = self.inner.roster.enter(task);
        self.inner.tracked.spawn(async move {
            future.await;
            drop(present);
        });
    }

    /// Starts a task that the process cannot do without: if it ends before draining, or fails or
    /// panics at any time, the process drains and [`finish`](Self::finish) returns
    /// [`Ending::Failed`].
    pub fn supervise<F, E>(&self, task: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let lifecycle = self.clone();
        self.spawn(task, async move {
            let outcome = catch_panic(future).await;
            lifecycle.supervised_task_ended(task, outcome);
        });
    }

    /// Starts an operating system thread under the rules of [`supervise`](Self::supervise), for
    /// blocking loops. The thread must check [`is_draining`](Self::is_draining) often enough to end
    /// in time.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub fn supervise_thread<E>(
        &self,
        task: &'static str,
        run: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> std::io::Result<()>
    where
        E: std::error::Error + Send + 'static,
    {
        let lifecycle = self.clone();
        let present = self.inner.roster.enter(task);
        let tracked = self.inner.tracked.token();
        std::thread::Builder::new().name(task.to_owned()).spawn(move || {
            let outcome = caught(run);
            lifecycle.supervised_task_ended(task, outcome);
            drop(present);
            drop(tracked);
        })?;
        Ok(())
    }

    /// Runs a short blocking closure on the runtime's blocking threads. Not cancelled by dropping:
    /// the closure runs to its end and draining waits for it. A panic of the closure continues in
    /// the caller.
    pub async fn blocking<T>(&self, run: impl FnOnce() -> T + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        let present = self.inner.roster.enter("blocking");
        let run = move || {
            let value = run();
            drop(present);
            value
        };
        match self.inner.tracked.spawn_blocking(run).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: this future will not be polled again.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Starts a task that ends last: the token is cancelled once everything else has ended or the
    /// deadline has passed. For services that must answer while the process drains.
    pub fn accompany<F>(&self, start: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.inner.companions.spawn(start(self.inner.ended.clone()));
    }

    /// Waits until the process drains. Cancel safe; ready at once when it drains already.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Begins to drain. A second call changes nothing.
    pub fn drain(&self) {
        self.inner.draining.cancel();
        self.inner.holds.close();
    }

    /// Keeps the process from closing until the returned guard is dropped. Returns `None` once
    /// draining has begun: then the work must not be accepted.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        let hold = Hold { _token: self.inner.holds.token() };
        // Checked second. A hold that sees no drain was counted before the drain began, so the
        // process does not close while it exists.
        (!self.is_draining()).then_some(hold)
    }

    /// Waits until the process closes: it drains, and no [`Hold`] is left. Cancel safe.
    pub async fn closing(&self) {
        self.inner.holds.wait().await;
        self.inner.closing.store(true, Ordering::Release);
    }

    /// Whether the process is closing; stays true. Two atomic loads at most, so a thread may ask in
    /// each round of its loop.
    pub fn is_closing(&self) -> bool {
        if self.inner.closing.load(Ordering::Acquire) {
            return true;
        }
        let is_closing = self.inner.holds.is_closed() && self.inner.holds.is_empty();
        if is_closing {
            self.inner.closing.store(true, Ordering::Release);
        }
        is_closing
    }

    /// Whether the process has reached this phase.
    pub fn has_reached(&self, phase: Phase) -> bool {
        match phase {
            Phase::Draining => self.is_draining(),
            Phase::Closing => self.is_closing(),
        }
    }

    /// Calls `wake` once when the process closes, for threads that sleep until they are woken.
    pub fn on_closing(&self, task: &'static str, wake: impl FnOnce() + Send + 'static) {
        let lifecycle = self.clone();
        self.spawn(task, async move {
            lifecycle.closing().await;
            wake();
        });
    }

    /// Registers work in progress that has no task of its own, such as messages in flight, so that
    /// the log lines about draining include it. `count` must not block.
    pub fn count_work(&self, name: &'static str, count: impl Fn() -> usize + Send + 'static) {
        self.inner.roster.count_work(name, count);
    }

    /// Returns the running tasks and threads, and other work in progress, by name.
    pub fn running(&self) -> Vec<Running> {
        self.inner.roster.present()
    }

    /// Drains, waits at most `within` for everything that was started, and returns how it ended. A
    /// second signal ends the wait early.
    pub async fn finish(&self, within: Duration) -> Ending {
        self.drain();
        self.inner.tracked.close();
        let signals = lock(&self.inner.signals).take();
        let in_time = tokio::select! {
            () = self.inner.tracked.wait() => true,
            () = tokio::time::sleep(within) => false,
            () = signals::next(signals) => false,
        };
        let ending = self.ending(in_time);
        self.inner.ended.cancel();
        self.inner.companions.close();
        // A companion has at most one response to finish.
        let _late = tokio::time::timeout(Duration::from_secs(1), self.inner.companions.wait()).await;
        ending
    }

    /// Waits for SIGTERM, SIGINT or the beginning of draining, whichever comes first; drains from
    /// then on.
    pub async fn until_signal(&self) {
        match Signals::install() {
            Ok(mut signals) => {
                tokio::select! {
                    signal = signals.next() => tracing::info!(signal, "draining; repeat the signal to exit at once"),
                    () = self.draining() => {}
                }
                *lock(&self.inner.signals) = Some(signals);
            }
            Err(error) => {
                tracing::error!(%error, "cannot receive signals: only SIGKILL ends this process");
                self.draining().await;
            }
        }
        self.drain();
    }

    fn ending(&self, in_time: bool) -> Ending {
        match (lock(&self.inner.failure).take(), in_time) {
            (Some((task, cause)), _) => Ending::Failed { task, cause },
            (None, true) => Ending::Clean,
            (None, false) => Ending::Deadline { left: self.inner.roster.present() },
        }
    }

    fn supervised_task_ended<E>(&self, task: &'static str, outcome: Result<Result<(), E>, String>)
    where
        E: std::error::Error + Send + 'static,
    {
        let cause = match outcome {
            Ok(Ok(())) if self.is_draining() => return,
            Ok(Ok(())) => TaskFailure::EndedEarly,
            Ok(Err(error)) => TaskFailure::Error(Box::new(error)),
            Err(message) => TaskFailure::Panicked(message),
        };
        tracing::error!(task, %cause, "a vital task has ended, draining");
        // The first failure usually causes the later ones.
        lock(&self.inner.failure).get_or_insert((task, cause));
        self.drain();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
