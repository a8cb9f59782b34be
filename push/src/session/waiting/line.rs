//! Who waits, since when, and who has to leave when all together hold too much.
//!
//! Plain data, time is an argument. `S` is how somebody is asked.
//!
//! Invariant: after [`Line::ask`], those who stay hold at most the bound together, or none of them has waited long.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Those who wait, the longest waiting in front.
#[derive(Debug)]
pub(super) struct Line<S> {
    max: usize,
    patience: Duration,
    used: usize,
    /// What those hold who have been asked to leave, or leave anyway, and are still here.
    leaving: usize,
    next_ticket: u64,
    places: BTreeMap<u64, Place<S>>,
}

#[derive(Debug)]
struct Place<S> {
    since: Instant,
    bytes: usize,
    /// `None` once they leave.
    seat: Option<S>,
}

impl<S> Line<S> {
    /// Makes an empty one. Nobody is asked to leave who has waited for less than `patience`.
    pub(super) fn new(max: usize, patience: Duration) -> Self {
        Self { max, patience, used: 0, leaving: 0, next_ticket: 0, places: BTreeMap::new() }
    }

    /// What all hold together, in bytes.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Puts somebody at the end. Returns their ticket. Time goes forward.
    pub(super) fn sit(&mut self, now: Instant, bytes: usize, seat: S) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.used += bytes;
        self.places.insert(ticket, Place { since: now, bytes, seat: Some(seat) });
        ticket
    }

    /// Takes over that somebody holds more or less than before.
    pub(super) fn change(&mut self, ticket: u64, bytes: usize) {
        let Some(place) = self.places.get_mut(&ticket) else { return };
        self.used = self.used - place.bytes + bytes;
        if place.seat.is_none() {
            self.leaving = self.leaving - place.bytes + bytes;
        }
        place.bytes = bytes;
    }

    /// Takes somebody out who waits for nothing any more.
    pub(super) fn rise(&mut self, ticket: u64) {
        self.leaves(ticket);
        let Some(place) = self.places.remove(&ticket) else { return };
        self.used -= place.bytes;
        self.leaving -= place.bytes;
    }

    /// Notes that somebody leaves, and need not be asked.
    pub(super) fn leaves(&mut self, ticket: u64) {
        if let Some(place) = self.places.get_mut(&ticket)
            && place.seat.take().is_some()
        {
            self.leaving += place.bytes;
        }
    }

    /// Returns who has to leave, so that the others have room: those who have waited longest, each once.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<S> {
        let mut asked = Vec::new();
        // Those in front that leave already are few: they are here for two seconds at most.
        for place in self.places.values_mut() {
            let is_long = now.duration_since(place.since) >= self.patience;
            if self.used - self.leaving <= self.max || !is_long {
                break;
            }
            if let Some(seat) = place.seat.take() {
                self.leaving += place.bytes;
                asked.push(seat);
            }
        }
        asked
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
    fn those_who_waited_longest_leave_for_those_who_come() {
        let (mut line, start) = (Line::new(100, 2 * SECOND), Instant::now());
        let first = line.sit(start, 60, "first");
        line.sit(start, 40, "second");
        assert!(line.ask(start + 5 * SECOND).is_empty(), "there is room for both");
        line.sit(start + 5 * SECOND, 10, "third");
        assert_eq!(line.ask(start + 5 * SECOND), ["first"]);
        line.sit(start + 5 * SECOND, 20, "fourth");
        assert!(line.ask(start + 5 * SECOND).is_empty(), "what the first gives back is enough for both");
        line.rise(first);
        assert_eq!(line.used(), 70);
    }

    #[test]
    fn nobody_leaves_who_has_waited_for_a_moment() {
        // A burst made a thousand sessions wait at once, and those that came first in it were closed.
        let (mut line, start) = (Line::new(100, 2 * SECOND), Instant::now());
        for who in 0..20 {
            line.sit(start, 10, who);
        }
        assert!(line.ask(start + SECOND).is_empty());
        assert_eq!(line.ask(start + 2 * SECOND), Vec::from_iter(0..10));
        assert!(line.ask(start + 3 * SECOND).is_empty(), "each once");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u32),
        Sit(usize),
        Change(usize, usize),
        Rise(usize),
        Leaves(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (1..4_u32).prop_map(Step::Pass),
            3 => (1..50_usize).prop_map(Step::Sit),
            2 => (0..40_usize, 1..50_usize).prop_map(|(who, bytes)| Step::Change(who, bytes)),
            2 => (0..40_usize).prop_map(Step::Rise),
            1 => (0..40_usize).prop_map(Step::Leaves),
        ];
        vec(step, 1..80)
    }

    /// Somebody as a person would note them.
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
        fn who_stays_fits_the_bound_and_nobody_leaves_before_those_who_waited_longer(steps in steps()) {
            const MAX: usize = 100;
            let mut now = Instant::now();
            let (mut line, mut model): (_, Vec<Noted>) = (Line::new(MAX, 2 * SECOND), Vec::new());
            for step in steps {
                match step {
                    Step::Pass(seconds) => now += seconds * SECOND,
                    Step::Sit(bytes) => {
                        let ticket = line.sit(now, bytes, ());
                        model.push(Noted { ticket, since: now, bytes, leaves: false });
                    }
                    Step::Change(who, bytes) => {
                        let Some(noted) = model.get_mut(who) else { continue };
                        line.change(noted.ticket, bytes);
                        noted.bytes = bytes;
                    }
                    Step::Rise(who) if who < model.len() => line.rise(model.remove(who).ticket),
                    Step::Leaves(who) => {
                        let Some(noted) = model.get_mut(who) else { continue };
                        line.leaves(noted.ticket);
                        noted.leaves = true;
                    }
                    Step::Rise(_) => {}
                }
                for () in line.ask(now) {
                    assert!(staying(&model) > MAX, "somebody was asked without need");
                    let longest = model.iter_mut().find(|noted| !noted.leaves).expect("somebody was asked");
                    assert!(now - longest.since >= 2 * SECOND, "somebody was asked too early");
                    longest.leaves = true;
                }
                let patient = model.iter().filter(|noted| !noted.leaves).all(|noted| now - noted.since < 2 * SECOND);
                assert!(staying(&model) <= MAX || patient, "{} bytes stay", staying(&model));
                assert_eq!(line.used(), model.iter().map(|noted| noted.bytes).sum::<usize>());
            }
        }
    }
}
