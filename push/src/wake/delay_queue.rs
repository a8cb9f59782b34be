//! A queue of entries that are due some milliseconds later, by the millisecond: plain data, time is
//! an argument.

use std::collections::VecDeque;

/// A queue of entries that are due at a time of their own.
#[derive(Debug)]
pub(crate) struct DelayQueue<T> {
    /// The entries that are due in the millisecond `first` and in those after it.
    slots: VecDeque<Vec<T>>,
    first: u64,
}

impl<T> Default for DelayQueue<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), first: 0 }
    }
}

impl<T> DelayQueue<T> {
    /// Adds an entry, due in the millisecond that begins at `due_us` or next after it.
    pub(super) fn until(&mut self, due_us: u64, what: T) {
        let due = due_us.div_ceil(1_000);
        if self.slots.is_empty() {
            self.first = due;
        }
        while due < self.first {
            self.slots.push_front(Vec::new());
            self.first -= 1;
        }
        let slot = usize::try_from(due - self.first).expect("pauses are milliseconds");
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Vec::new);
        }
        self.slots[slot].push(what);
    }

    /// When the next entry is due; `None` when the queue is empty.
    pub(super) fn next_us(&self) -> Option<u64> {
        let empty = self.slots.iter().take_while(|slot| slot.is_empty()).count();
        (empty < self.slots.len()).then(|| (self.first + empty as u64) * 1_000)
    }

    /// Takes the entries that are due, in the order of their times.
    pub(super) fn take_due(&mut self, now_us: u64, mut take: impl FnMut(T)) {
        while self.first * 1_000 <= now_us
            && let Some(due) = self.slots.pop_front()
        {
            self.first += 1;
            due.into_iter().for_each(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, Strategy as _, prop_oneof, proptest},
    };

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Until(u64),
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn everything_comes_once_and_within_a_millisecond_of_its_time(
            steps in vec(
                prop_oneof![(0..5_000_u64).prop_map(Step::Pass), (0..20_000_u64).prop_map(Step::Until)],
                1..100,
            ),
        ) {
            let (mut queue, mut now, mut model) = (DelayQueue::default(), 123_456, Vec::new());
            for step in steps {
                match step {
                    Step::Pass(us) => now += us,
                    Step::Until(us) => {
                        queue.until(now + us, now + us);
                        model.push(now + us);
                    }
                }
                let due = |at: &u64| at.div_ceil(1_000) * 1_000;
                let mut expected: Vec<u64> = model.extract_if(.., |at| due(at) <= now).collect();
                let mut found = Vec::new();
                queue.take_due(now, |at| found.push(at));
                expected.sort_unstable();
                found.sort_unstable();
                assert_eq!(found, expected);
                assert_eq!(queue.next_us(), model.iter().map(due).min());
            }
        }
    }
}
