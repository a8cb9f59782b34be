//! The queue of lookups for the thread that queries Kafka.
//!
//! Lookups of the same topic are merged, and all pending lookups go out as one request. The number
//! of topics is limited, because names come from clients. The number of callers is limited by their
//! services.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tailcast_proto::TopicName;
use tokio::sync::oneshot;

use super::{LookupError, LookupFailure, Topic};

/// Maximum number of topics with pending lookups.
const PENDING_MAX: usize = 4096;

/// The answer to one caller.
pub(super) type LookupResult = Result<Topic, LookupError>;

/// Callers by topic, taken by the thread all at once.
pub(super) type PendingLookups = HashMap<TopicName, Vec<oneshot::Sender<LookupResult>>>;

/// The queue from callers, which are tasks, to the directory, which is a thread.
#[derive(Debug, Default)]
pub(super) struct LookupQueue {
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: PendingLookups,
    closed: bool,
}

impl LookupQueue {
    /// Queues a lookup of this topic.
    pub(super) fn ask(&self, topic: &TopicName) -> Result<oneshot::Receiver<LookupResult>, LookupFailure> {
        let mut state = self.lock();
        if state.closed {
            return Err(LookupFailure::Draining);
        }
        if state.waiting.len() >= PENDING_MAX && !state.waiting.contains_key(topic) {
            return Err(LookupFailure::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let callers = state.waiting.entry(topic.clone()).or_default();
        // Callers that gave up are removed, so that they do not accumulate during an outage.
        callers.retain(|caller| !caller.is_closed());
        callers.push(answer);
        self.arrived.notify_one();
        Ok(answered)
    }

    /// Takes all pending lookups; waits at most this long for the first.
    pub(super) fn take(&self, at_most: Duration) -> PendingLookups {
        let state = self.lock();
        let (mut state, _) = self
            .arrived
            .wait_timeout_while(state, at_most, |state| state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.waiting)
    }

    /// Closes the queue: pending and later lookups fail with [`LookupFailure::Draining`].
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::parse(text).expect("a topic name")
    }

    #[test]
    fn callers_for_one_topic_wait_together() {
        let queue = LookupQueue::default();
        let waits = [queue.ask(&name("quotes")), queue.ask(&name("quotes")), queue.ask(&name("chat"))];
        let waiting = queue.take(Duration::ZERO);
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting[&name("quotes")].len(), 2);
        assert!(queue.take(Duration::ZERO).is_empty());
        assert!(waits.iter().all(Result::is_ok));
    }

    #[test]
    fn callers_that_gave_up_leave_their_place() {
        let queue = LookupQueue::default();
        for _ in 0..100 {
            drop(queue.ask(&name("quotes")));
        }
        assert_eq!(queue.take(Duration::ZERO)[&name("quotes")].len(), 1);
    }

    #[test]
    fn the_number_of_topics_that_wait_is_bounded() {
        let queue = LookupQueue::default();
        let waits: Vec<_> = (0..PENDING_MAX).map(|n| queue.ask(&name(&format!("t{n}")))).collect();
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!(queue.ask(&name("one-more")).err(), Some(LookupFailure::Busy));
        assert!(queue.ask(&name("t0")).is_ok());
    }

    #[test]
    fn a_closed_queue_rejects_every_lookup() {
        let queue = LookupQueue::default();
        let mut waits = queue.ask(&name("quotes")).expect("it is open");
        queue.close();
        assert_eq!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(queue.ask(&name("quotes")).err(), Some(LookupFailure::Draining));
    }
}
