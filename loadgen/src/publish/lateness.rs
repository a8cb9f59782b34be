//! How late this process was itself: from when an event was due to when a lane took it that nobody but loadgen kept from it.

use std::sync::{Mutex, PoisonError};

use crate::interval::Distribution;

/// How late all lanes were. Kept outside of them, so that what a lane noted outlives it when it is ended before its time.
#[derive(Debug)]
pub(crate) struct Lateness(Mutex<Distribution>);

impl Lateness {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Distribution::new()))
    }

    /// Records a time in microseconds.
    pub(super) fn record(&self, us: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(us);
    }

    /// Returns what was recorded by now.
    pub(crate) fn so_far(&self) -> Distribution {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
