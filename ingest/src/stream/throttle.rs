//! When a stream's caller is told to wait, and how long.
//!
//! Waiting is advice: what holds callers back is that their streams are not read. The advice comes earlier, so that a
//! caller that follows it is not stopped, and the messages wait where they are cheapest.

/// From how full a budget on callers are told to wait, in thousandths.
const FROM: usize = 750;
/// How long they are told to wait when it is full, in milliseconds: a few round trips to Kafka.
const MOST_MS: usize = 200;

/// How long to tell a caller to wait, for how full the budget is, in thousandths. Grows evenly.
pub(super) fn throttle_ms(pressure: usize) -> u32 {
    let over = pressure.saturating_sub(FROM);
    let wait = over.saturating_mul(MOST_MS) / (1_000 - FROM);
    u32::try_from(wait.min(MOST_MS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_to_wait_when_the_budget_runs_short() {
        for (pressure, expected) in [(0, 0), (750, 0), (800, 40), (875, 100), (1_000, 200), (1_333, 200)] {
            assert_eq!(throttle_ms(pressure), expected, "at {pressure} thousandths");
        }
    }
}
