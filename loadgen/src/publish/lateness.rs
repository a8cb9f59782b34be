//! The lateness of this process: from when an event was due to when its lane published it, unless
//! the lane was delayed by backpressure.

use std::sync::{Mutex, PoisonError};

use crate::interval::Distribution;

/// The lateness of all lanes. Kept outside the lanes, so that it survives when a lane is aborted.
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

    /// Returns the distribution so far.
    pub(crate) fn so_far(&self) -> Distribution {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
