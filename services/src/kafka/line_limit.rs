//! Limits how often lines with the same cause are logged.
//!
//! An unreachable broker is worth a line, not three a second. The cause is the broker, or
//! librdkafka's facility (`CONFWARN`, `SESSTMOUT`, …), of which there are a few dozen. Plain code:
//! time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines of one facility in each period.
const LINES: u32 = 3;
/// The period.
const PERIOD: Duration = Duration::from_secs(30);
/// Causes with a count of their own; more share one count.
const CAUSES_MAX: usize = 64;

/// Counts lines by cause.
#[derive(Debug)]
pub(super) struct LineLimit {
    lines_max: u32,
    causes: HashMap<String, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

impl LineLimit {
    /// Allows so many lines of one cause in each period.
    pub(super) fn new(lines_max: u32) -> Self {
        Self { lines_max, causes: HashMap::new() }
    }

    /// Whether a line with this cause may be written, and if so, how many were suppressed before
    /// it.
    pub(super) fn admit(&mut self, cause: &str, now: Instant) -> Option<u64> {
        let full = self.causes.len() >= CAUSES_MAX && !self.causes.contains_key(cause);
        let cause = if full { "others" } else { cause };
        let fresh = || Window { began: now, lines: 0, suppressed: 0 };
        let window = self.causes.entry(cause.to_owned()).or_insert_with(fresh);
        if now.saturating_duration_since(window.began) >= PERIOD {
            window.began = now;
            window.lines = 0;
        }
        if window.lines == self.lines_max {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

impl Default for LineLimit {
    fn default() -> Self {
        Self::new(LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_repeats_itself_is_suppressed_and_counted() {
        let (mut limit, begin) = (LineLimit::default(), Instant::now());
        let admitted = (0..100).filter(|_| limit.admit("FAIL", begin).is_some()).count();
        assert_eq!(admitted, 3);
        assert_eq!(limit.admit("CONFWARN", begin), Some(0));
        assert_eq!(limit.admit("FAIL", begin + PERIOD / 2), None);
        assert_eq!(limit.admit("FAIL", begin + PERIOD), Some(98));
        assert_eq!(limit.admit("FAIL", begin + PERIOD), Some(0));
    }

    #[test]
    fn a_limit_of_one_line_is_one_line_for_each_cause_and_period() {
        let (mut limit, begin) = (LineLimit::new(1), Instant::now());
        assert_eq!(limit.admit("127.0.0.1:9092", begin), Some(0));
        assert_eq!(limit.admit("127.0.0.1:9092", begin), None);
        assert_eq!(limit.admit("127.0.0.1:9093", begin), Some(0));
        assert_eq!(limit.admit("127.0.0.1:9092", begin + PERIOD), Some(1));
    }

    #[test]
    fn the_number_of_causes_is_bounded() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        for n in 0..10 * CAUSES_MAX {
            limit.admit(&format!("F{n}"), now);
        }
        assert!(limit.causes.len() <= CAUSES_MAX + 1);
    }
}
