//! The primitives that the doorbell and the fan-out synchronize with, and their clock.
//! `tests/wake_model` has loom's in their place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

pub(super) use futures_util::task::AtomicWaker;
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Reads the clock.
pub(super) fn now() -> Instant {
    Instant::now()
}
