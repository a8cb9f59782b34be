//! Reports pages whose origin is refused.
//!
//! The browser tells its page only that the connection failed, so the node's log is where the reason is found. Anybody can
//! cause the line, so there is at most one per period.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The shortest time between two lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How much of an origin is logged, in characters.
const ORIGIN_CHARS_MAX: usize = 200;

/// When the last line was logged, and how many refusals came after it.
#[derive(Debug, Default)]
pub(super) struct RefusedOrigins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    suppressed: u64,
}

impl RefusedOrigins {
    /// Logs a refused origin, unless another was logged a short time ago.
    pub(super) fn report(&self, origin: &[u8]) {
        if let Some(suppressed) = self.next_line(Instant::now()) {
            let origin: String = String::from_utf8_lossy(origin).chars().take(ORIGIN_CHARS_MAX).collect();
            tracing::warn!(
                origin = %origin.escape_debug(),
                suppressed,
                "connection refused: pages of this origin are not allowed; add the origin to push.origins to allow them"
            );
        }
    }

    /// Counts a refusal. Returns how many were not logged before it, when it is to be logged itself.
    fn next_line(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_per_period_with_the_count_of_the_others() {
        let (refused, start) = (RefusedOrigins::default(), Instant::now());
        assert_eq!(refused.next_line(start), Some(0));
        assert_eq!(refused.next_line(start), None);
        assert_eq!(refused.next_line(start + LOG_INTERVAL / 2), None);
        assert_eq!(refused.next_line(start + LOG_INTERVAL), Some(2));
        assert_eq!(refused.next_line(start + LOG_INTERVAL * 2), Some(0));
    }
}
