//! How the feed wakes a session that has something to deliver, without queueing anything.
//!
//! A session has one doorbell. Each of its cursors rings it through a ringer, which also notes
//! *which* cursor has news, so that a session with many subscriptions looks only at those. Rings
//! before the session looks count as one: the number of noted cursors is bounded by the number of
//! cursors.
//!
//! A ring returns the doorbell, for the feed to pass on to the [fan-out](crate::wake::fan_out),
//! whose threads serve the session on the spot: a task would have to be woken, scheduled and polled
//! for a few hundred bytes. Everything but writing to a socket that takes it is left to the
//! session's task.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll},
};

use super::sync::{AtomicBool, AtomicU64, AtomicUsize, AtomicWaker, Mutex, Ordering};

/// One session's doorbell.
#[derive(Default)]
pub(crate) struct Doorbell {
    /// The session for the fan-out to serve; until it is set, the session's task serves itself.
    session: OnceLock<Weak<dyn Serve>>,
    waker: AtomicWaker,
    /// Set while the session's task has to look.
    rung: AtomicBool,
    /// Set while the doorbell is in the fan-out's queue, or about to be.
    queued: AtomicBool,
    /// When the fan-out last served the session, in microseconds of its clock.
    served_us: AtomicU64,
    /// The cursors that have news, each at most once.
    news: Mutex<Vec<CursorId>>,
}

/// A session that can be served by another thread than its task's.
pub(crate) trait Serve: Send + Sync {
    /// Delivers what is new to a socket that takes it, without waiting. Returns `false` if
    /// something is left for the session's task.
    fn serve(&self) -> bool;
}

/// A cursor's number within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CursorId(pub(crate) usize);

/// Rings a session's doorbell on behalf of one of its cursors.
#[derive(Debug)]
pub(crate) struct Ringer {
    doorbell: Arc<Doorbell>,
    cursor: CursorId,
    /// Whether the doorbell already has this cursor among its news.
    noted: AtomicBool,
    /// Where the channel log keeps this ringer; written only under that log's lock.
    pub(crate) slot: AtomicUsize,
}

impl Doorbell {
    /// Sets the session for the fan-out to serve. Called once.
    pub(crate) fn set_session(&self, session: Weak<dyn Serve>) {
        let is_first = self.session.set(session).is_ok();
        debug_assert!(is_first, "a doorbell belongs to one session");
    }

    /// Serves the session, at this time of the fan-out's clock, and wakes its task if something is
    /// left for that. Called for a doorbell that rang.
    ///
    /// A panic of the session does not end the thread, which has other sessions to serve. It is
    /// left to the task, which finds the session's lock poisoned.
    pub(crate) fn serve(&self, now_us: u64) {
        self.served_us.store(now_us, Ordering::Relaxed);
        // Before the news is taken: a ring from here on queues the session again.
        self.queued.swap(false, Ordering::SeqCst);
        let session = self.session.get().and_then(Weak::upgrade);
        let served = catch_unwind(AssertUnwindSafe(|| session.is_some_and(|session| session.serve())));
        if !served.unwrap_or(false) {
            self.wake();
        }
    }

    /// Whether there is a session to serve. Reads the memory that serving begins with.
    pub(crate) fn is_served(&self) -> bool {
        self.session.get().is_some_and(|session| session.strong_count() > 0)
    }

    /// When the fan-out last served the session, in microseconds of its clock.
    pub(crate) fn served_us(&self) -> u64 {
        self.served_us.load(Ordering::Relaxed)
    }

    /// Waits until the session's task has to look. Cancel safe: a ring that is not taken stays.
    pub(crate) async fn rung(&self) {
        std::future::poll_fn(|context| self.poll_rung(context)).await;
    }

    /// Takes the cursors that have news into `news`, which is empty and whose memory is used for
    /// the next ones. Every record that is appended from here on rings again, except for cursors
    /// without a ringer in `ringer_of`: their ringers are silent until they
    /// [listen](Ringer::listen).
    pub(crate) fn take_news<'a>(
        &self,
        news: &mut Vec<CursorId>,
        ringer_of: impl Fn(CursorId) -> Option<&'a Arc<Ringer>>,
    ) {
        mem::swap(news, &mut self.news.lock());
        for cursor in news {
            if let Some(ringer) = ringer_of(*cursor) {
                ringer.listen();
            }
        }
    }

    fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        // Registered before the flag is read, so that a ring between the two is not lost.
        self.waker.register(context.waker());
        if !self.rung.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn wake(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

impl Ringer {
    pub(crate) fn new(doorbell: Arc<Doorbell>, cursor: CursorId) -> Arc<Self> {
        Arc::new(Self { doorbell, cursor, noted: AtomicBool::new(false), slot: AtomicUsize::new(usize::MAX) })
    }

    /// Makes the next ring count. Called before the cursor reads.
    pub(crate) fn listen(&self) {
        // A swap, not a store: what the cursor reads next must not be read before this, and has to
        // include every record whose ring did not count.
        self.noted.swap(false, Ordering::SeqCst);
    }

    /// Notes that this cursor has news. Returns the session's doorbell if it has to be queued: not
    /// when it is queued already.
    pub(crate) fn ring(&self) -> Option<&Arc<Doorbell>> {
        if self.noted.swap(true, Ordering::SeqCst) {
            return None;
        }
        self.doorbell.news.lock().push(self.cursor);
        (!self.doorbell.queued.swap(true, Ordering::SeqCst)).then_some(&self.doorbell)
    }

    /// Wakes the session's task although the cursor does not listen: the partition is closed.
    pub(crate) fn alert(&self) {
        self.doorbell.news.lock().push(self.cursor);
        self.doorbell.wake();
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("rung", &self.rung)
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}
