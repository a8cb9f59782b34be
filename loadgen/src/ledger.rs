//! The outcome of every published event: two bits each, set by the publishers and read at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The outcome of every event.
#[derive(Debug)]
pub(crate) struct Ledger {
    acknowledged: Bits,
    refused: Bits,
    published: AtomicU64,
    unknown: AtomicU64,
    /// How often an event was not acknowledged, by reason.
    reasons: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug)]
struct Bits {
    words: Vec<AtomicU64>,
    count: AtomicU64,
}

impl Ledger {
    /// Allocates room for events with numbers below `events`.
    pub(crate) fn new(events: u64) -> Self {
        Self {
            acknowledged: Bits::new(events),
            refused: Bits::new(events),
            published: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            reasons: Mutex::default(),
        }
    }

    /// Records that events were sent.
    pub(crate) fn publish(&self, events: u64) {
        self.published.fetch_add(events, Relaxed);
    }

    /// Records that an event is in Kafka.
    pub(crate) fn acknowledge(&self, number: u64) {
        self.acknowledged.set(number);
    }

    /// Records that an event is not in Kafka and never will be.
    pub(crate) fn refuse(&self, number: u64, reason: &str) {
        self.refused.set(number);
        self.reason(reason);
    }

    /// Records that the outcome of an event is unknown.
    pub(crate) fn unknown(&self, reason: &str) {
        self.unknown.fetch_add(1, Relaxed);
        self.reason(reason);
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.count.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.count.load(Relaxed)
    }

    /// Returns the number of events with an outcome, including unknown ones.
    pub(crate) fn answered(&self) -> u64 {
        self.acknowledged() + self.refused() + self.unknown.load(Relaxed)
    }

    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.has(number)
    }

    pub(crate) fn is_refused(&self, number: u64) -> bool {
        self.refused.has(number)
    }

    /// Returns the last event that was acknowledged.
    pub(crate) fn last_acknowledged(&self) -> Option<u64> {
        self.acknowledged.last()
    }

    /// Returns how often an event was not acknowledged, by reason.
    pub(crate) fn reasons(&self) -> BTreeMap<String, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reason(&self, reason: &str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        match reasons.get_mut(reason) {
            Some(times) => *times += 1,
            None => {
                reasons.insert(reason.to_owned(), 1);
            }
        }
    }
}

impl Bits {
    fn new(bits: u64) -> Self {
        let words = usize::try_from(bits.div_ceil(64)).expect("the command line bounds the run");
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), count: AtomicU64::new(0) }
    }

    fn set(&self, number: u64) {
        let before = self.word(number).map(|word| word.fetch_or(1 << (number % 64), Relaxed));
        if before.is_some_and(|before| before & (1 << (number % 64)) == 0) {
            self.count.fetch_add(1, Relaxed);
        }
    }

    fn has(&self, number: u64) -> bool {
        self.word(number).is_some_and(|word| word.load(Relaxed) & (1 << (number % 64)) != 0)
    }

    fn last(&self) -> Option<u64> {
        let words = self.words.iter().enumerate().rev().map(|(at, word)| (at, word.load(Relaxed)));
        let (at, word) = words.into_iter().find(|(_, word)| *word != 0)?;
        Some(at as u64 * 64 + u64::from(word.ilog2()))
    }

    fn word(&self, number: u64) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(number / 64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_with_its_recorded_outcome() {
        let ledger = Ledger::new(130);
        for number in [0, 63, 64, 129, 129] {
            ledger.acknowledge(number);
        }
        ledger.refuse(65, "too large");
        ledger.unknown("gone");
        let of = |has: &dyn Fn(u64) -> bool| (0..200).filter(|number| has(*number)).collect::<Vec<_>>();
        assert_eq!(of(&|number| ledger.is_acknowledged(number)), [0, 63, 64, 129]);
        assert_eq!(of(&|number| ledger.is_refused(number)), [65]);
        assert_eq!((ledger.acknowledged(), ledger.refused(), ledger.answered()), (4, 1, 6));
        assert_eq!((ledger.last_acknowledged(), Ledger::new(9).last_acknowledged()), (Some(129), None));
        assert_eq!(
            ledger.reasons().into_iter().collect::<Vec<_>>(),
            [("gone".into(), 1), ("too large".into(), 1)]
        );
    }
}
