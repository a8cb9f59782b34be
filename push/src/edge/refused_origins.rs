//! Logs pages whose origin was refused.
//!
//! A browser reports to its page only that the connection failed, so the reason has to be in the
//! node's log. Any client can cause the line, so at most one is logged per interval.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Minimum time between two lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum length of a logged origin, in characters.
const ORIGIN_CHARS_MAX: usize = 200;

/// Time of the last line, and the number of refusals since.
#[derive(Debug, Default)]
pub(super) struct RefusedOrigins(Mutex<LogState>);

#[derive(Debug, Default)]
struct LogState {
    logged: Option<Instant>,
    suppressed: u64,
}

impl RefusedOrigins {
    /// Logs a refused origin, at most once per interval.
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

    /// Counts a refusal. If it is to be logged, returns how many were not logged before it.
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
