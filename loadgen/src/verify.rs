//! Checks the events of one key on one connection: each once, in order, none lost.
//!
//! Knows only sequence numbers: no sockets, clocks or payloads. Loss is judged at the end, against
//! the acknowledged events.
//!
//! Invariant: every number below `next` has arrived or is in `gaps`; no number from `next` on has
//! arrived.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What arrived of one key on one connection.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Sequence {
    /// One more than the highest number that arrived.
    next: u64,
    /// The missing numbers below `next`: non-empty ranges, ascending, never adjacent.
    gaps: Vec<Range<u64>>,
}

/// How an event arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// After all earlier events that arrived at all.
    InOrder,
    /// For the first time, but after a later event.
    OutOfOrder,
    /// Not for the first time.
    Repeated,
}

impl Sequence {
    /// Records an arrival.
    pub(crate) fn observe(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            if number > self.next {
                self.gaps.push(self.next..number);
            }
            self.next = number + 1;
            return Arrival::InOrder;
        }
        let Some(at) = self.gap(number) else { return Arrival::Repeated };
        let gap = self.gaps[at].clone();
        let left = [gap.start..number, number + 1..gap.end].into_iter().filter(|left| !left.is_empty());
        self.gaps.splice(at..=at, left);
        Arrival::OutOfOrder
    }

    /// Returns whether an event arrived.
    pub(crate) fn has(&self, number: u64) -> bool {
        number < self.next && self.gap(number).is_none()
    }

    /// Returns which of the first `count` events did not arrive.
    pub(crate) fn missing(&self, count: u64) -> impl Iterator<Item = u64> {
        let below = self.gaps.iter().cloned().flatten().take_while(move |number| *number < count);
        below.chain(self.next.min(count)..count)
    }

    fn gap(&self, number: u64) -> Option<usize> {
        let at = self.gaps.partition_point(|gap| gap.end <= number);
        self.gaps.get(at).filter(|gap| gap.contains(&number)).map(|_| at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    /// The result: in order, out of order, repeated, missing.
    type Found = (usize, usize, usize, Vec<u64>);

    fn found(arrivals: &[u64], count: u64) -> Found {
        let mut sequence = Sequence::default();
        let all: Vec<_> = arrivals.iter().map(|number| sequence.observe(*number)).collect();
        let of = |kind| all.iter().filter(|arrival| **arrival == kind).count();
        for number in 0..count {
            assert_eq!(sequence.has(number), arrivals.contains(&number), "{number}");
        }
        let missing = sequence.missing(count).collect();
        (of(Arrival::InOrder), of(Arrival::OutOfOrder), of(Arrival::Repeated), missing)
    }

    /// The same, by remembering every number.
    fn expected(arrivals: &[u64], count: u64) -> Found {
        let mut seen = BTreeSet::new();
        let (mut in_order, mut out_of_order, mut repeated) = (0, 0, 0);
        for number in arrivals {
            if seen.contains(number) {
                repeated += 1;
            } else if seen.last().is_some_and(|last| last > number) {
                out_of_order += 1;
            } else {
                in_order += 1;
            }
            seen.insert(*number);
        }
        (in_order, out_of_order, repeated, (0..count).filter(|number| !seen.contains(number)).collect())
    }

    /// A stream of `count` events, some of them lost, repeated or moved.
    fn harmed() -> impl Strategy<Value = (u64, Vec<u64>)> {
        let places = || proptest::collection::vec(any::<proptest::sample::Index>(), 0..6);
        (1_u64..60, places(), places(), places()).prop_map(|(count, lost, repeated, moved)| {
            let mut arrivals: Vec<_> = (0..count).collect();
            for place in moved {
                let number = arrivals.remove(place.index(arrivals.len()));
                arrivals.insert(place.index(arrivals.len() / 2 + 1), number);
            }
            for place in repeated {
                arrivals.push(arrivals[place.index(arrivals.len())]);
            }
            for place in lost {
                if !arrivals.is_empty() {
                    arrivals.remove(place.index(arrivals.len()));
                }
            }
            (count, arrivals)
        })
    }

    proptest! {
        #[test]
        fn faults_are_found_as_by_a_reference_model((count, arrivals) in harmed()) {
            assert_eq!(found(&arrivals, count), expected(&arrivals, count));
        }

        #[test]
        fn any_stream_is_judged_as_by_a_reference_model(
            arrivals in proptest::collection::vec(0_u64..40, 0..80), count in 0_u64..50,
        ) {
            assert_eq!(found(&arrivals, count), expected(&arrivals, count));
        }

        #[test]
        fn a_clean_stream_is_clean(count in 0_u64..500) {
            let arrivals: Vec<_> = (0..count).collect();
            assert_eq!(found(&arrivals, count), (arrivals.len(), 0, 0, vec![]));
        }

        #[test]
        fn a_lost_event_is_named(count in 1_u64..200, place: proptest::sample::Index) {
            let lost = place.index(usize::try_from(count).expect("it is small")) as u64;
            let arrivals: Vec<_> = (0..count).filter(|number| *number != lost).collect();
            assert_eq!(found(&arrivals, count), (arrivals.len(), 0, 0, vec![lost]));
        }

        #[test]
        fn a_repeated_event_is_counted(count in 1_u64..200, place: proptest::sample::Index) {
            let mut arrivals: Vec<_> = (0..count).collect();
            let at = place.index(arrivals.len());
            arrivals.insert(at, arrivals[at]);
            assert_eq!(found(&arrivals, count), (arrivals.len() - 1, 0, 1, vec![]));
        }

        #[test]
        fn two_events_in_the_wrong_order_are_counted_once(count in 2_u64..200, place: proptest::sample::Index) {
            let mut arrivals: Vec<_> = (0..count).collect();
            let at = place.index(arrivals.len() - 1);
            arrivals.swap(at, at + 1);
            assert_eq!(found(&arrivals, count), (arrivals.len() - 1, 1, 0, vec![]));
        }
    }
}
