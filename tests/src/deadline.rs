//! Waiting for a condition, with a deadline that reports the last value seen.
//!
//! Nothing here waits for a fixed time. A passing scenario never comes near the deadline, so it is
//! generous: a scenario must not fail on a busy machine.

use std::fmt::{Debug, Display};
use std::time::Duration;

/// The deadline of each wait in a scenario.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Interval at which [`eventually`] evaluates its condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for a future.
///
/// # Panics
///
/// When [`PATIENCE`] has passed, with `what` was expected.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Evaluates `look` repeatedly until its value is `good`, and returns the value.
///
/// # Panics
///
/// When [`PATIENCE`] has passed, with the last value seen.
pub async fn eventually<T: Debug>(
    what: impl Display,
    mut look: impl AsyncFnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let mut looks = tokio::time::interval(POLL_INTERVAL);
    let mut last = None;
    let wait = async {
        loop {
            looks.tick().await;
            let seen = look().await;
            if good(&seen) {
                return seen;
            }
            last = Some(seen);
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(seen) => seen,
        Err(_) => panic!("not within {PATIENCE:?}: {what}; last seen: {last:?}"),
    }
}
