//! The scheduling lag of this process, which is part of the latencies that it measures.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::interval::Distribution;

/// The measuring interval. Tokio's timers have a resolution of a millisecond.
const INTERVAL: Duration = Duration::from_millis(10);

/// A task that sleeps and records how late it was woken. It ends when this is dropped.
pub(crate) struct Lag {
    late: Arc<Mutex<Distribution>>,
    _task: JoinSet<()>,
}

impl Lag {
    pub(crate) fn start() -> Self {
        let late = Arc::new(Mutex::new(Distribution::new()));
        let mut task = JoinSet::new();
        task.spawn(measure(Arc::clone(&late)));
        Self { late, _task: task }
    }

    /// Returns the times recorded since the last call.
    pub(crate) fn take(&self) -> Distribution {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut late, Distribution::new())
    }
}

async fn measure(late: Arc<Mutex<Distribution>>) {
    let mut due = Instant::now() + INTERVAL;
    loop {
        sleep_until(due).await;
        let us = due.elapsed().as_micros();
        late.lock().unwrap_or_else(PoisonError::into_inner).record(u64::try_from(us).unwrap_or(u64::MAX));
        due = Instant::now() + INTERVAL;
    }
}
