//! What waits for sockets that take nothing, of all sessions of a node together.
//!
//! A session counts what its socket did not take, and nothing while that takes all it is given: sessions that keep up never
//! touch the count that all share.
//!
//! When more waits than may, messages get small, and those leave whose sockets have taken nothing for longest, if that is
//! long. Not the one that comes last: when a burst meets a thousand clients, all of them have to wait for a moment.

mod line;

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

use self::line::Line;

/// How much may wait for slow sockets.
#[derive(Debug, Clone)]
pub(crate) struct WaitingBudget {
    line: Arc<Mutex<Line<Arc<Seat>>>>,
    used: Gauge,
    max: i64,
}

/// What waits for one session's socket. Counted out when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    budget: WaitingBudget,
    seat: Arc<Seat>,
    /// While something waits: its place in the line, and how much it is.
    place: Option<(u64, usize)>,
    /// What waits is the end of the session, which nobody needs to ask for.
    is_last: bool,
}

/// How a session is asked to leave.
#[derive(Debug, Default)]
struct Seat {
    is_asked: AtomicBool,
    waker: AtomicWaker,
}

/// How long a socket may take nothing before its session is one of those that make room. Two seconds are several round trips
/// and a retransmission.
const PATIENCE: Duration = Duration::from_secs(2);

/// The limit is exceeded, and this session's socket has taken nothing for longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slow-client buffer limit exceeded")]
pub(crate) struct NoRoom;

impl WaitingBudget {
    /// Makes a budget of `max` bytes; `used` shows what is taken of it.
    pub(crate) fn new(used: Gauge, max: usize) -> Self {
        let line = Arc::new(Mutex::new(Line::new(max, PATIENCE)));
        Self { line, used, max: signed(max) }
    }

    /// Starts to count for a session.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { budget: self.clone(), seat: Arc::default(), place: None, is_last: false }
    }

    fn is_full(&self) -> bool {
        self.used.get() >= self.max
    }
}

impl Waiting {
    /// Whether as much waits for slow sockets as may, so that no more should be given to any.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_full()
    }

    /// Counts that so many bytes wait for the session's socket; 0 once it took them. `has_moved`: it took some of them since
    /// the last call.
    ///
    /// # Errors
    ///
    /// When the session has to leave. It is woken through `context` when that becomes so later.
    pub(crate) fn count(
        &mut self,
        bytes: usize,
        has_moved: bool,
        context: &Context<'_>,
    ) -> Result<(), NoRoom> {
        let before = self.place.map_or(0, |(_, before)| before);
        // Who waits looks also whether others have waited too long: nobody else does.
        if before != bytes || (bytes > 0 && (has_moved || self.is_full())) {
            self.change(bytes, has_moved);
        }
        if bytes == 0 || self.is_last {
            return Ok(());
        }
        // Registered before the look, so that being asked between the two is not missed.
        self.seat.waker.register(context.waker());
        if self.seat.is_asked.load(Ordering::Acquire) { Err(NoRoom) } else { Ok(()) }
    }

    /// Says that the session is closed: it has a few frames to write, and some seconds to do it.
    pub(crate) fn last(&mut self) {
        self.is_last = true;
        if let Some((ticket, _)) = self.place {
            self.budget.line.lock().leaves(ticket);
        }
    }

    fn change(&mut self, bytes: usize, has_moved: bool) {
        let asked = {
            let mut line = self.budget.line.lock();
            let now = Instant::now();
            match self.place {
                Some((ticket, _)) if bytes == 0 => {
                    line.rise(ticket);
                    self.place = None;
                    self.seat.is_asked.store(false, Ordering::Release);
                }
                Some((ticket, _)) if !has_moved => {
                    line.change(ticket, bytes);
                    self.place = Some((ticket, bytes));
                }
                before => {
                    before.into_iter().for_each(|(ticket, _)| line.rise(ticket));
                    let ticket = line.sit(now, bytes, Arc::clone(&self.seat));
                    if self.is_last {
                        line.leaves(ticket);
                    }
                    self.place = Some((ticket, bytes));
                }
            }
            self.budget.used.set(signed(line.used()));
            line.ask(now)
        };
        for seat in asked {
            seat.is_asked.store(true, Ordering::Release);
            seat.waker.wake();
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
