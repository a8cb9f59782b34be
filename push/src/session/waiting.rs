//! The slow-client buffer: bytes that blocked sockets have not accepted, of all sessions of a node.
//!
//! A session counts the bytes that its socket did not accept. A session that keeps up counts
//! nothing, and never touches the shared count.
//!
//! At the limit, messages get small, and the sessions whose sockets have been blocked for longest
//! are evicted, if that is long. Not the one that came last: when a burst meets a thousand clients,
//! all of them are blocked for a moment.

mod blocked_queue;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Context,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

use self::blocked_queue::BlockedQueue;

/// The slow-client buffer of a node, with its limit.
#[derive(Debug, Clone)]
pub(crate) struct WaitingBudget {
    queue: Arc<Mutex<BlockedQueue<Arc<Eviction>>>>,
    used: Gauge,
    max: i64,
}

/// The unwritten bytes of one session. Dropping it removes them from the count.
#[derive(Debug)]
pub(crate) struct Waiting {
    budget: WaitingBudget,
    eviction: Arc<Eviction>,
    /// While there are unwritten bytes: the place in the queue, and how many bytes.
    place: Option<(u64, usize)>,
    /// The session is closed: it ends soon, and need not be evicted.
    is_last: bool,
}

/// How a session is evicted.
#[derive(Debug, Default)]
struct Eviction {
    is_evicted: AtomicBool,
    waker: AtomicWaker,
}

/// How long a socket is blocked before its session may be evicted. Two seconds are several round
/// trips and a retransmission.
const PATIENCE: Duration = Duration::from_secs(2);

/// The limit is exceeded, and this session's socket has taken nothing for longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slow-client buffer limit exceeded")]
pub(crate) struct NoRoom;

impl WaitingBudget {
    /// Makes a buffer with a limit of `max` bytes; `used` is its gauge.
    pub(crate) fn new(used: Gauge, max: usize) -> Self {
        let queue = Arc::new(Mutex::new(BlockedQueue::new(max, PATIENCE)));
        Self { queue, used, max: signed(max) }
    }

    /// Returns the count for a new session.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { budget: self.clone(), eviction: Arc::default(), place: None, is_last: false }
    }

    fn is_full(&self) -> bool {
        self.used.get() >= self.max
    }
}

impl Waiting {
    /// Whether the limit is reached, so that every message should be small.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_full()
    }

    /// Sets the number of bytes that the session's socket has not accepted; 0 once it accepted
    /// them. `has_moved`: it accepted some of them since the last call.
    ///
    /// # Errors
    ///
    /// When the session is evicted. It is woken through `context` if that happens later.
    pub(crate) fn count(
        &mut self,
        bytes: usize,
        has_moved: bool,
        context: &Context<'_>,
    ) -> Result<(), NoRoom> {
        let before = self.place.map_or(0, |(_, before)| before);
        // A blocked session also checks whether others have been blocked for too long: nothing else
        // does.
        if before != bytes || (bytes > 0 && (has_moved || self.is_full())) {
            self.change(bytes, has_moved);
        }
        if bytes == 0 || self.is_last {
            return Ok(());
        }
        // Registered before the flag is read, so that an eviction between the two is not missed.
        self.eviction.waker.register(context.waker());
        if self.eviction.is_evicted.load(Ordering::Acquire) { Err(NoRoom) } else { Ok(()) }
    }

    /// Marks the session as closed: it has a few frames to write, and some seconds to do it.
    pub(crate) fn last(&mut self) {
        self.is_last = true;
        if let Some((ticket, _)) = self.place {
            self.budget.queue.lock().mark_closing(ticket);
        }
    }

    fn change(&mut self, bytes: usize, has_moved: bool) {
        let evicted = {
            let mut queue = self.budget.queue.lock();
            let now = Instant::now();
            match self.place {
                Some((ticket, _)) if bytes == 0 => {
                    queue.remove(ticket);
                    self.place = None;
                    self.eviction.is_evicted.store(false, Ordering::Release);
                }
                Some((ticket, _)) if !has_moved => {
                    queue.change(ticket, bytes);
                    self.place = Some((ticket, bytes));
                }
                before => {
                    before.into_iter().for_each(|(ticket, _)| queue.remove(ticket));
                    let ticket = queue.insert(now, bytes, Arc::clone(&self.eviction));
                    if self.is_last {
                        queue.mark_closing(ticket);
                    }
                    self.place = Some((ticket, bytes));
                }
            }
            self.budget.used.set(signed(queue.used()));
            queue.evict(now)
        };
        for eviction in evicted {
            eviction.is_evicted.store(true, Ordering::Release);
            eviction.waker.wake();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.change(0, false);
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
