//! The queue of lookups for the thread that asks Kafka.
//!
//! Those for one topic wait together, and all that wait when the thread comes round go out as one request. Bounded in
//! topics, because their names come from clients; a waiting caller is a task that somebody else bounds.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tailcast_proto::TopicName;
use tokio::sync::oneshot;

use super::{LookupError, Obstacle, Topic};

/// Maximum number of topics with pending lookups.
const WAITING_MAX: usize = 4096;

/// The answer to one caller.
pub(super) type Answer = Result<Topic, LookupError>;

/// Callers by topic, taken by the thread all at once.
pub(super) type Waiting = HashMap<TopicName, Vec<oneshot::Sender<Answer>>>;

/// Between callers, which are tasks, and the directory, which is a thread.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    closed: bool,
}

impl Desk {
    /// Begins to wait for an answer about this topic.
    pub(super) fn ask(&self, topic: &TopicName) -> Result<oneshot::Receiver<Answer>, Obstacle> {
        let mut state = self.lock();
        if state.closed {
            return Err(Obstacle::Draining);
        }
        if state.waiting.len() >= WAITING_MAX && !state.waiting.contains_key(topic) {
            return Err(Obstacle::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let callers = state.waiting.entry(topic.clone()).or_default();
        // Callers that gave up are removed, so that they do not add up while Kafka is silent.
        callers.retain(|caller| !caller.is_closed());
        callers.push(answer);
        self.arrived.notify_one();
        Ok(answered)
    }

    /// Takes all pending callers; waits at most this long for the first.
    pub(super) fn take(&self, at_most: Duration) -> Waiting {
        let state = self.lock();
        let (mut state, _) = self
            .arrived
            .wait_timeout_while(state, at_most, |state| state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.waiting)
    }

    /// Closes the queue: pending and later callers get [`Obstacle::Draining`].
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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
        let desk = Desk::default();
        let waits = [desk.ask(&name("quotes")), desk.ask(&name("quotes")), desk.ask(&name("chat"))];
        let waiting = desk.take(Duration::ZERO);
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting[&name("quotes")].len(), 2);
        assert!(desk.take(Duration::ZERO).is_empty());
        assert!(waits.iter().all(Result::is_ok));
    }

    #[test]
    fn callers_that_gave_up_leave_their_place() {
        let desk = Desk::default();
        for _ in 0..100 {
            drop(desk.ask(&name("quotes")));
        }
        assert_eq!(desk.take(Duration::ZERO)[&name("quotes")].len(), 1);
    }

    #[test]
    fn the_number_of_topics_that_wait_is_bounded() {
        let desk = Desk::default();
        let waits: Vec<_> = (0..WAITING_MAX).map(|n| desk.ask(&name(&format!("t{n}")))).collect();
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!(desk.ask(&name("one-more")).err(), Some(Obstacle::Busy));
        assert!(desk.ask(&name("t0")).is_ok());
    }

    #[test]
    fn a_closed_desk_sends_everybody_away() {
        let desk = Desk::default();
        let mut waits = desk.ask(&name("quotes")).expect("it is open");
        desk.close();
        assert_eq!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(desk.ask(&name("quotes")).err(), Some(Obstacle::Draining));
    }
}
