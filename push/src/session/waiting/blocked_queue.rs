//! The queue of blocked sessions: since when each is blocked, and which are evicted when all of
//! them together exceed the limit.
//!
//! Plain data, time is an argument. `S` identifies a session to evict.
//!
//! Invariant: after [`BlockedQueue::evict`], the remaining sessions are within the limit together,
//! or none of them has been blocked for long.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The blocked sessions, the longest blocked first.
#[derive(Debug)]
pub(super) struct BlockedQueue<S> {
    max: usize,
    patience: Duration,
    used: usize,
    /// Bytes of sessions that were evicted or are closing, and are still here.
    leaving: usize,
    next_ticket: u64,
    places: BTreeMap<u64, Place<S>>,
}

#[derive(Debug)]
struct Place<S> {
    since: Instant,
    bytes: usize,
    /// `None` once the session is evicted or closing.
    session: Option<S>,
}

impl<S> BlockedQueue<S> {
    /// Makes an empty queue. A session that has been blocked for less than `patience` is not
    /// evicted.
    pub(super) fn new(max: usize, patience: Duration) -> Self {
        Self { max, patience, used: 0, leaving: 0, next_ticket: 0, places: BTreeMap::new() }
    }

    /// Bytes of all sessions together.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Adds a session at the end. Returns its ticket. Time goes forward.
    pub(super) fn insert(&mut self, now: Instant, bytes: usize, session: S) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.used += bytes;
        self.places.insert(ticket, Place { since: now, bytes, session: Some(session) });
        ticket
    }

    /// Changes the number of bytes of a session.
    pub(super) fn change(&mut self, ticket: u64, bytes: usize) {
        let Some(place) = self.places.get_mut(&ticket) else { return };
        self.used = self.used - place.bytes + bytes;
        if place.session.is_none() {
            self.leaving = self.leaving - place.bytes + bytes;
        }
        place.bytes = bytes;
    }

    /// Removes a session that is not blocked any more.
    pub(super) fn remove(&mut self, ticket: u64) {
        self.mark_closing(ticket);
        let Some(place) = self.places.remove(&ticket) else { return };
        self.used -= place.bytes;
        self.leaving -= place.bytes;
    }

    /// Marks a session as closing: it need not be evicted.
    pub(super) fn mark_closing(&mut self, ticket: u64) {
        if let Some(place) = self.places.get_mut(&ticket)
            && place.session.take().is_some()
        {
            self.leaving += place.bytes;
        }
    }

    /// Returns the sessions to evict, so that the others are within the limit: those that have been
    /// blocked for longest, each once.
    pub(super) fn evict(&mut self, now: Instant) -> Vec<S> {
        let mut evicted = Vec::new();
        // The evicted sessions in front are few: they are here for two seconds at most.
        for place in self.places.values_mut() {
            let is_long = now.duration_since(place.since) >= self.patience;
            if self.used - self.leaving <= self.max || !is_long {
                break;
            }
            if let Some(session) = place.session.take() {
                self.leaving += place.bytes;
                evicted.push(session);
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, Strategy, prop_oneof, proptest},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_longest_blocked_sessions_are_evicted_for_new_ones() {
        let (mut queue, start) = (BlockedQueue::new(100, 2 * SECOND), Instant::now());
        let first = queue.insert(start, 60, "first");
        queue.insert(start, 40, "second");
        assert!(queue.evict(start + 5 * SECOND).is_empty(), "there is room for both");
        queue.insert(start + 5 * SECOND, 10, "third");
        assert_eq!(queue.evict(start + 5 * SECOND), ["first"]);
        queue.insert(start + 5 * SECOND, 20, "fourth");
        assert!(queue.evict(start + 5 * SECOND).is_empty(), "what the first gives back is enough for both");
        queue.remove(first);
        assert_eq!(queue.used(), 70);
    }

    #[test]
    fn a_session_that_is_blocked_for_a_moment_is_not_evicted() {
        // A burst blocked a thousand sessions at once, and the first of them were closed.
        let (mut queue, start) = (BlockedQueue::new(100, 2 * SECOND), Instant::now());
        for index in 0..20 {
            queue.insert(start, 10, index);
        }
        assert!(queue.evict(start + SECOND).is_empty());
        assert_eq!(queue.evict(start + 2 * SECOND), Vec::from_iter(0..10));
        assert!(queue.evict(start + 3 * SECOND).is_empty(), "each once");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u32),
        Insert(usize),
        Change(usize, usize),
        Remove(usize),
        Close(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (1..4_u32).prop_map(Step::Pass),
            3 => (1..50_usize).prop_map(Step::Insert),
            2 => (0..40_usize, 1..50_usize).prop_map(|(index, bytes)| Step::Change(index, bytes)),
            2 => (0..40_usize).prop_map(Step::Remove),
            1 => (0..40_usize).prop_map(Step::Close),
        ];
        vec(step, 1..80)
    }

    /// A session as the model notes it.
    struct Noted {
        ticket: u64,
        since: Instant,
        bytes: usize,
        leaves: bool,
    }

    fn staying(model: &[Noted]) -> usize {
        model.iter().filter(|noted| !noted.leaves).map(|noted| noted.bytes).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn the_rest_is_within_the_limit_and_the_longest_blocked_are_evicted_first(steps in steps()) {
            const MAX: usize = 100;
            let mut now = Instant::now();
            let (mut queue, mut model): (_, Vec<Noted>) = (BlockedQueue::new(MAX, 2 * SECOND), Vec::new());
            for step in steps {
                match step {
                    Step::Pass(seconds) => now += seconds * SECOND,
                    Step::Insert(bytes) => {
                        let ticket = queue.insert(now, bytes, ());
                        model.push(Noted { ticket, since: now, bytes, leaves: false });
                    }
                    Step::Change(index, bytes) => {
                        let Some(noted) = model.get_mut(index) else { continue };
                        queue.change(noted.ticket, bytes);
                        noted.bytes = bytes;
                    }
                    Step::Remove(index) if index < model.len() => queue.remove(model.remove(index).ticket),
                    Step::Close(index) => {
                        let Some(noted) = model.get_mut(index) else { continue };
                        queue.mark_closing(noted.ticket);
                        noted.leaves = true;
                    }
                    Step::Remove(_) => {}
                }
                for () in queue.evict(now) {
                    assert!(staying(&model) > MAX, "a session was evicted without need");
                    let longest = model.iter_mut().find(|noted| !noted.leaves).expect("a session was evicted");
                    assert!(now - longest.since >= 2 * SECOND, "a session was evicted too early");
                    longest.leaves = true;
                }
                let patient = model.iter().filter(|noted| !noted.leaves).all(|noted| now - noted.since < 2 * SECOND);
                assert!(staying(&model) <= MAX || patient, "{} bytes stay", staying(&model));
                assert_eq!(queue.used(), model.iter().map(|noted| noted.bytes).sum::<usize>());
            }
        }
    }
}
