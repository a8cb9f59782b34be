//! How the feed tells a session that there is something to gather, without queueing anything.
//!
//! A session has one doorbell. Each of its cursors rings it through a ringer, which also notes *which* cursor has news,
//! so that a session with many subscriptions looks only at those. Ringing twice before the session looks is ringing once:
//! what waits is bounded by the number of cursors.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// One session's doorbell.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    waker: AtomicWaker,
    rung: AtomicBool,
    /// The cursors that have news, each at most once.
    news: Mutex<Vec<CursorId>>,
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
    /// Waits until somebody rings. Cancel safe: a ring that is not taken stays.
    pub(crate) async fn rung(&self) {
        std::future::poll_fn(|context| self.poll_rung(context)).await;
    }

    /// Takes the cursors that have news. Whatever is appended to a log after this rings again, but for cursors that
    /// `ringer_of` has none for: their ringers are silent until they [listen](Ringer::listen).
    pub(crate) fn take_news(&self, ringer_of: impl Fn(CursorId) -> Option<Arc<Ringer>>) -> Vec<CursorId> {
        let news = mem::take(&mut *self.news.lock());
        for cursor in &news {
            if let Some(ringer) = ringer_of(*cursor) {
                ringer.listen();
            }
        }
        news
    }

    fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        // Registered before the look, so that a ring between the two is not lost.
        self.waker.register(context.waker());
        if self.rung.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
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

    /// Tells the session that this cursor has news. A session that already knows is not woken again.
    pub(crate) fn ring(&self) {
        if !self.noted.swap(true, Ordering::SeqCst) {
            self.alert();
        }
    }

    /// Tells the session of something that it has to hear although it does not listen for more: the partition is closed.
    pub(crate) fn alert(&self) {
        self.doorbell.news.lock().push(self.cursor);
        if !self.doorbell.rung.swap(true, Ordering::SeqCst) {
            self.doorbell.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn cursors(news: &[CursorId]) -> Vec<usize> {
        news.iter().map(|cursor| cursor.0).collect()
    }

    #[test]
    fn a_ringer_that_nobody_listens_to_is_silent_but_for_alerts() {
        let doorbell = Arc::new(Doorbell::default());
        let ringer = Ringer::new(Arc::clone(&doorbell), CursorId(0));
        ringer.ring();
        assert_eq!(cursors(&doorbell.take_news(|_| None)), [0]);
        ringer.ring();
        assert_eq!(cursors(&doorbell.take_news(|_| None)), [] as [usize; 0]);
        ringer.alert();
        assert_eq!(cursors(&doorbell.take_news(|_| None)), [0]);
        ringer.listen();
        ringer.ring();
        assert_eq!(cursors(&doorbell.take_news(|_| None)), [0]);
    }

    #[test]
    fn ringing_twice_is_ringing_once_until_the_news_are_taken() {
        let doorbell = Arc::new(Doorbell::default());
        let ringers = [0, 1].map(|id| Ringer::new(Arc::clone(&doorbell), CursorId(id)));
        assert_eq!(doorbell.rung().now_or_never(), None);

        ringers[1].ring();
        ringers[0].ring();
        ringers[1].ring();
        assert_eq!(doorbell.rung().now_or_never(), Some(()));
        assert_eq!(doorbell.rung().now_or_never(), None, "a ring is taken once");
        assert_eq!(cursors(&doorbell.take_news(|id| ringers.get(id.0).cloned())), [1, 0]);

        ringers[1].ring();
        assert_eq!(doorbell.rung().now_or_never(), Some(()));
        assert_eq!(cursors(&doorbell.take_news(|id| ringers.get(id.0).cloned())), [1]);
    }
}
