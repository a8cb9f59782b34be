//! The running tasks and other work in progress, by name, for the log lines about draining.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::ending::Running;

/// Counts the running tasks of each name.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    present: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    work: Arc<Mutex<Vec<Work>>>,
}

/// Work in progress that has no task of its own, and the function that counts it.
struct Work {
    name: &'static str,
    count: Box<dyn Fn() -> usize + Send>,
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

    pub(super) fn count_work(&self, name: &'static str, count: impl Fn() -> usize + Send + 'static) {
        self.work().push(Work { name, count: Box::new(count) });
    }

    pub(super) fn present(&self) -> Vec<Running> {
        let mut counts = self.counts().clone();
        for Work { name, count } in &*self.work() {
            *counts.entry(name).or_default() += count();
        }
        let running = counts.into_iter().map(|(task, count)| Running { task, count });
        running.filter(|running| running.count > 0).collect()
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Vec<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // Each change is a single addition, so a panic cannot leave the counts inconsistent.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("name", &self.name).finish_non_exhaustive()
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
