//! Waiting for what should happen, with a deadline that tells what happened instead.
//!
//! Nothing here waits a fixed time in the hope that it is enough. A scenario that passes never comes near the deadline, so
//! it is generous: a machine that compiles something else meanwhile must not turn a promise red.

use std::fmt::{Debug, Display};
use std::time::Duration;

/// How long a scenario waits for any one thing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for a future.
///
/// # Panics
///
/// When [`PATIENCE`] has passed, saying `what` was expected.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Looks again and again until what is seen is `good`, and returns it.
///
/// # Panics
///
/// When [`PATIENCE`] has passed, with the last value seen.
pub async fn eventually<T: Debug>(
    what: impl Display,
    mut look: impl AsyncFnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let mut looks = tokio::time::interval(LOOK);
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
