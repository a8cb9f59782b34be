//! The running tasks, by name, for the log line at the deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ending::Running;

/// Counts the running tasks of each name.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    present: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// One running task; leaves the roster when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Present {
    roster: Roster,
    task: &'static str,
}

impl Roster {
    pub(super) fn enter(&self, task: &'static str) -> Present {
        *self.counts().entry(task).or_default() += 1;
        Present { roster: self.clone(), task }
    }

    pub(super) fn present(&self) -> Vec<Running> {
        self.counts().iter().map(|(&task, &count)| Running { task, count }).collect()
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // Each change is a single addition, so a panic cannot leave the counts inconsistent.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut counts = self.roster.counts();
        if let Some(count) = counts.get_mut(self.task) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.task);
            }
        }
    }
}
