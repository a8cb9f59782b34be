//! How often librdkafka may say the same kind of thing.
//!
//! An unreachable broker is worth a line, not three a second. Lines are told apart by librdkafka's facility (`FAIL`,
//! `CONFWARN`, …), of which there are a few dozen. Plain code: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines of one facility let through in each period.
const LINES: u32 = 3;
/// The period.
const PERIOD: Duration = Duration::from_secs(30);
/// Facilities told apart; more share one count.
const FACILITIES_MAX: usize = 64;

/// Counts lines by facility.
#[derive(Debug, Default)]
pub(super) struct LineLimit {
    facilities: HashMap<String, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    held_back: u64,
}

impl LineLimit {
    /// Whether a line of this facility may be written, and if so, how many were held back before it.
    pub(super) fn admit(&mut self, facility: &str, now: Instant) -> Option<u64> {
        let full = self.facilities.len() >= FACILITIES_MAX && !self.facilities.contains_key(facility);
        let facility = if full { "others" } else { facility };
        let fresh = || Window { began: now, lines: 0, held_back: 0 };
        let window = self.facilities.entry(facility.to_owned()).or_insert_with(fresh);
        if now.saturating_duration_since(window.began) >= PERIOD {
            window.began = now;
            window.lines = 0;
        }
        if window.lines == LINES {
            window.held_back += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facility_that_repeats_itself_is_held_back_and_counted() {
        let (mut limit, begin) = (LineLimit::default(), Instant::now());
        let admitted = (0..100).filter(|_| limit.admit("FAIL", begin).is_some()).count();
        assert_eq!(admitted, 3);
        assert_eq!(limit.admit("CONFWARN", begin), Some(0));
        assert_eq!(limit.admit("FAIL", begin + PERIOD / 2), None);
        assert_eq!(limit.admit("FAIL", begin + PERIOD), Some(98));
        assert_eq!(limit.admit("FAIL", begin + PERIOD), Some(0));
    }

    #[test]
    fn the_number_of_facilities_remembered_is_bounded() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        for n in 0..10 * FACILITIES_MAX {
            limit.admit(&format!("F{n}"), now);
        }
        assert!(limit.facilities.len() <= FACILITIES_MAX + 1);
    }
}
