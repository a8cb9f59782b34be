//! The connections with a place, and the choice of the one that makes room.
//!
//! Plain rules, without sockets. `H` is the handle that notifies a connection of its eviction.
//!
//! Invariant: there are never more connections in the table than places.

use std::collections::BTreeMap;

use super::AtBound;

/// A connection, numbered in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64);

/// The table of places.
#[derive(Debug)]
pub(super) struct Places<H> {
    max: usize,
    next: u64,
    /// Connections on which nothing has arrived, the oldest first.
    silent: BTreeMap<Id, H>,
    /// The number of the others.
    speaking: usize,
}

/// The decision about a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<H> {
    /// It has a place.
    Admitted(Id),
    /// It has the place of another connection, which must be closed.
    AdmittedInsteadOf(Id, H),
    /// There is no place for it.
    Refused,
}

impl<H> Places<H> {
    /// An empty table, with at least one place: a listener without any could not serve.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), next: 0, silent: BTreeMap::new(), speaking: 0 }
    }

    /// Returns whether all places are taken.
    pub(super) fn is_full(&self) -> bool {
        self.silent.len() + self.speaking >= self.max
    }

    /// Decides about a new connection.
    pub(super) fn enter(&mut self, at_bound: AtBound, handle: H) -> Verdict<H> {
        let id = Id(self.next);
        if !self.is_full() {
            self.insert(id, handle);
            return Verdict::Admitted(id);
        }
        let evicted = match at_bound {
            AtBound::Evict => self.silent.pop_first(),
            AtBound::Refuse => None,
        };
        match evicted {
            Some((_, other)) => {
                self.insert(id, handle);
                Verdict::AdmittedInsteadOf(id, other)
            }
            None => Verdict::Refused,
        }
    }

    /// Something arrived on a connection. Returns whether it still has its place.
    pub(super) fn speaks(&mut self, id: Id) -> bool {
        let has_place = self.silent.remove(&id).is_some();
        self.speaking += usize::from(has_place);
        has_place
    }

    /// A connection ended, or no longer counts. `spoke` is what [`speaks`](Self::speaks) returned,
    /// if it was called.
    pub(super) fn leave(&mut self, id: Id, spoke: bool) {
        if spoke {
            self.speaking -= 1;
        } else {
            // Missing when it was evicted: another connection has the place.
            self.silent.remove(&id);
        }
    }

    fn insert(&mut self, id: Id, handle: H) {
        self.next += 1;
        self.silent.insert(id, handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays events on a table of three places: `+a` arrives, `a!` sends something, `-a` leaves.
    /// Returns what became of each arrival.
    fn play(at_bound: AtBound, events: &str) -> String {
        let mut places = Places::new(3);
        let mut present: BTreeMap<String, (Id, bool)> = BTreeMap::new();
        let mut verdicts = Vec::new();
        for event in events.split_whitespace() {
            if let Some(name) = event.strip_prefix('+') {
                let verdict = places.enter(at_bound, name.to_owned());
                verdicts.push(match &verdict {
                    Verdict::Admitted(_) => name.to_owned(),
                    Verdict::AdmittedInsteadOf(_, other) => format!("{name} for {other}"),
                    Verdict::Refused => format!("no {name}"),
                });
                if let Verdict::Admitted(id) | Verdict::AdmittedInsteadOf(id, _) = verdict {
                    present.insert(name.to_owned(), (id, false));
                }
            } else if let Some(name) = event.strip_suffix('!') {
                let (id, spoke) = present.get_mut(name).expect("it arrived");
                *spoke = places.speaks(*id);
                if !*spoke {
                    verdicts.push(format!("{name} was evicted"));
                }
            } else if let Some(name) = event.strip_prefix('-') {
                let (id, spoke) = present.remove(name).expect("it arrived");
                places.leave(id, spoke);
            }
            assert!(places.silent.len() + places.speaking <= 3, "after {event}: {places:?}");
        }
        verdicts.join(", ")
    }

    #[track_caller]
    fn check(at_bound: AtBound, events: &str, expected: &str) {
        assert_eq!(play(at_bound, events), expected, "{at_bound:?}: {events}");
    }

    #[test]
    fn the_oldest_silent_connection_makes_room() {
        use AtBound::Evict;
        check(Evict, "+a +b +c +d", "a, b, c, d for a");
        check(Evict, "+a +b +c a! +d +e", "a, b, c, d for b, e for c");
        check(Evict, "+a +b +c a! b! +d +e", "a, b, c, d for c, e for d");
        check(Evict, "+a +b +c -b +d +e", "a, b, c, d, e for a");
        check(Evict, "+a +b +c a! b! c! +d -b +e", "a, b, c, no d, e");
    }

    #[test]
    fn an_evicted_connection_neither_comes_back_nor_frees_the_place_of_another() {
        use AtBound::Evict;
        check(Evict, "+a +b +c +d a! b! c! d! -a +e", "a, b, c, d for a, a was evicted, no e");
    }

    #[test]
    fn a_listener_that_refuses_evicts_nobody() {
        use AtBound::Refuse;
        check(Refuse, "+a +b +c +d -a +e +f", "a, b, c, no d, e, no f");
    }
}
