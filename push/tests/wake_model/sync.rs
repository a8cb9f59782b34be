//! What `wake::sync` offers, with loom's primitives and a clock that stands still.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    task::Waker,
    time::Instant,
};

use loom::sync;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A lock with the interface of `parking_lot`.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// What a [`Mutex`] guards, while it is locked.
pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

/// A condition variable with the interface of `parking_lot`, which knows whether a thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    inner: sync::Condvar,
    /// How many threads sleep and were not notified. Changed under the lock of the condition only.
    sleeping: std::sync::atomic::AtomicUsize,
}

/// A wait with a time limit: the clock stands still, so none comes to its limit.
pub(crate) struct NotTimedOut;

/// The waker of one task.
#[derive(Default)]
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

/// Returns the same time for a whole execution: loom cannot explore what depends on the time.
pub(crate) fn now() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("no execution goes on after a panic")))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is locked")
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        let locked = guard.0.take().expect("it is locked");
        guard.0 = Some(self.inner.wait(locked).expect("no execution goes on after a panic"));
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> NotTimedOut {
        self.wait(guard);
        NotTimedOut
    }

    pub(crate) fn notify_one(&self) -> bool {
        let sleeping = self.sleeping.load(Ordering::Relaxed);
        self.sleeping.store(sleeping.saturating_sub(1), Ordering::Relaxed);
        self.inner.notify_one();
        sleeping > 0
    }

    pub(crate) fn notify_all(&self) -> usize {
        self.inner.notify_all();
        self.sleeping.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn sleeping(&self) -> usize {
        self.sleeping.load(Ordering::Relaxed)
    }
}

impl NotTimedOut {
    #[expect(clippy::unused_self, reason = "as in parking_lot")]
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &Waker) {
        *self.0.lock() = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
