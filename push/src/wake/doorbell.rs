//! How the feed tells a session that there is something to gather, without queueing anything.
//!
//! A session has one doorbell. Each of its cursors rings it through a ringer, which also notes *which* cursor has news,
//! so that a session with many subscriptions looks only at those. Ringing twice before the session looks is ringing once:
//! what waits is bounded by the number of cursors.
//!
//! Who rings gets the doorbell to give it to the [fan-out](crate::wake::fan_out), whose threads attend to the session where they
//! are: a task would have to be woken, scheduled and polled for a few hundred bytes. What is more than writing to a socket
//! that takes it is left to the session's task.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// One session's doorbell.
#[derive(Default)]
pub(crate) struct Doorbell {
    /// Who attends when the fan-out comes; until it is said, the session's task does.
    session: OnceLock<Weak<dyn Attend>>,
    waker: AtomicWaker,
    /// The session's task has to look.
    rung: AtomicBool,
    /// The fan-out has it, or is about to.
    queued: AtomicBool,
    /// When the fan-out last attended, in microseconds of its clock.
    attended_us: AtomicU64,
    /// The session panicked while it was attended to: its task goes no further.
    is_broken: AtomicBool,
    /// The cursors that have news, each at most once.
    news: Mutex<Vec<CursorId>>,
}

/// A session that can be attended to from another thread than that of its task.
pub(crate) trait Attend: Send + Sync {
    /// Hands out what there is to a socket that takes it. Returns whether that was all: otherwise the session's task has to go
    /// on. Never waits.
    fn attend(&self) -> bool;
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
    /// Says who attends when the fan-out comes. Said once.
    pub(crate) fn lead_to(&self, session: Weak<dyn Attend>) {
        let is_first = self.session.set(session).is_ok();
        debug_assert!(is_first, "a doorbell leads to one session");
    }

    /// Attends to the session, at this time of the fan-out's clock, or wakes its task if there is more to do than can be done
    /// here. Called by the fan-out with a doorbell that rang.
    ///
    /// A panic ends the session, as one of its task does, and not the thread, which has others to attend to.
    pub(crate) fn attend(&self, now_us: u64) {
        self.attended_us.store(now_us, Ordering::Relaxed);
        // Before the news are taken: who rings from here on is queued again.
        self.queued.swap(false, Ordering::SeqCst);
        let session = self.session.get().and_then(Weak::upgrade);
        let attended = catch_unwind(AssertUnwindSafe(|| session.is_some_and(|session| session.attend())));
        if attended.is_err() {
            self.is_broken.store(true, Ordering::SeqCst);
        }
        if !attended.unwrap_or(false) {
            self.wake();
        }
    }

    /// Whether somebody attends. Only looks, at memory that attending begins with.
    pub(crate) fn is_served(&self) -> bool {
        self.session.get().is_some_and(|session| session.strong_count() > 0)
    }

    /// When the fan-out last attended, in microseconds of its clock.
    pub(crate) fn attended_us(&self) -> u64 {
        self.attended_us.load(Ordering::Relaxed)
    }

    /// Waits until the session's task has to look. Cancel safe: a ring that is not taken stays.
    ///
    /// # Panics
    ///
    /// When the session panicked while the fan-out attended to it.
    pub(crate) async fn rung(&self) {
        std::future::poll_fn(|context| self.poll_rung(context)).await;
    }

    /// Takes the cursors that have news into `news`, which is empty and gives its memory for those that come next. Whatever is
    /// appended to a log after this rings again, but for cursors that `ringer_of` has none for: their ringers are silent until
    /// they [listen](Ringer::listen).
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
        // Registered before the look, so that a ring between the two is not lost.
        self.waker.register(context.waker());
        if !self.rung.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        assert!(!self.is_broken.load(Ordering::SeqCst), "the session panicked in a thread of the fan-out");
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

    /// Makes the next ring heard. Called before the cursor reads.
    pub(crate) fn listen(&self) {
        // A swap, not a store: what the cursor reads next must not be read before this.
        self.noted.swap(false, Ordering::SeqCst);
    }

    /// Notes that this cursor has news. Returns the session's doorbell if the fan-out is to attend to it: not when it knows
    /// already.
    pub(crate) fn ring(&self) -> Option<&Arc<Doorbell>> {
        if self.noted.swap(true, Ordering::SeqCst) {
            return None;
        }
        self.doorbell.news.lock().push(self.cursor);
        (!self.doorbell.queued.swap(true, Ordering::SeqCst)).then_some(&self.doorbell)
    }

    /// Tells the session's task of something that it has to hear although it does not listen for more: the partition is
    /// closed.
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn take_news(doorbell: &Doorbell, ringers: &[&Arc<Ringer>]) -> Vec<usize> {
        let mut news = Vec::new();
        doorbell.take_news(&mut news, |id| ringers.get(id.0).copied());
        news.iter().map(|cursor| cursor.0).collect()
    }

    /// Says whether it did everything, and counts how often it was asked.
    struct Session {
        does_all: bool,
        attended: AtomicUsize,
    }

    impl Attend for Session {
        fn attend(&self) -> bool {
            self.attended.fetch_add(1, Ordering::Relaxed);
            self.does_all
        }
    }

    #[test]
    fn a_ringer_that_nobody_listens_to_is_silent_but_for_alerts() {
        let doorbell = Arc::new(Doorbell::default());
        let ringer = Ringer::new(Arc::clone(&doorbell), CursorId(0));
        assert!(ringer.ring().is_some());
        assert_eq!(take_news(&doorbell, &[]), [0]);
        assert!(ringer.ring().is_none());
        assert_eq!(take_news(&doorbell, &[]), [] as [usize; 0]);
        ringer.alert();
        assert_eq!(take_news(&doorbell, &[]), [0]);
        ringer.listen();
        assert!(ringer.ring().is_none(), "the fan-out has not attended yet");
        assert_eq!(take_news(&doorbell, &[]), [0]);
    }

    #[test]
    fn ringing_twice_is_ringing_once_until_the_fan_out_attends() {
        let doorbell = Arc::new(Doorbell::default());
        let ringers = [0, 1].map(|id| Ringer::new(Arc::clone(&doorbell), CursorId(id)));

        assert!(ringers[1].ring().is_some_and(|rung| Arc::ptr_eq(rung, &doorbell)));
        assert!(ringers[0].ring().is_none() && ringers[1].ring().is_none());
        assert_eq!(doorbell.rung().now_or_never(), None, "the task sleeps on");
        doorbell.attend(7);
        assert_eq!(doorbell.attended_us(), 7);
        assert_eq!(doorbell.rung().now_or_never(), Some(()), "nobody else attends");
        assert_eq!(doorbell.rung().now_or_never(), None, "a ring is taken once");
        assert_eq!(take_news(&doorbell, &ringers.each_ref()), [1, 0]);
        assert!(ringers[1].ring().is_some());
    }

    #[test]
    fn a_panic_while_it_is_attended_to_ends_the_session_and_not_the_thread() {
        // It ended the thread, and with it the process and everybody's session.
        struct Broken;
        impl Attend for Broken {
            fn attend(&self) -> bool {
                panic!("this session meets a bug");
            }
        }
        let (doorbell, session) = (Doorbell::default(), Arc::new(Broken));
        let weak = Arc::downgrade(&session);
        doorbell.lead_to(weak);
        doorbell.attend(0);
        let task = catch_unwind(AssertUnwindSafe(|| doorbell.rung().now_or_never()));
        assert!(task.is_err(), "the task goes on: {task:?}");
    }

    #[test]
    fn the_task_is_woken_for_what_the_fan_out_cannot_do() {
        for does_all in [true, false] {
            let doorbell = Doorbell::default();
            assert!(!doorbell.is_served());
            let session = Arc::new(Session { does_all, attended: AtomicUsize::new(0) });
            let weak = Arc::downgrade(&session);
            doorbell.lead_to(weak);
            assert!(doorbell.is_served());
            doorbell.attend(0);
            assert_eq!(session.attended.load(Ordering::Relaxed), 1);
            assert_eq!(doorbell.rung().now_or_never().is_none(), does_all);
        }
    }
}
