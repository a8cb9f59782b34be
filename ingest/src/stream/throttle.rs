//! The pause that callers of streams are advised to make.
//!
//! The pause is advice; callers are stopped when their streams are no longer read. The advice comes
//! earlier, so that messages wait with the caller, where they cost least.

/// The usage from which on callers are advised to pause, in thousandths.
const FROM: usize = 750;
/// The pause at full usage, in milliseconds: a few round trips to Kafka.
const MOST_MS: usize = 200;

/// Returns the pause for a usage in thousandths. It grows linearly.
pub(super) fn throttle_ms(pressure: usize) -> u32 {
    let over = pressure.saturating_sub(FROM);
    let wait = over.saturating_mul(MOST_MS) / (1_000 - FROM);
    u32::try_from(wait.min(MOST_MS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_advised_to_pause_near_the_limit() {
        for (pressure, expected) in [(0, 0), (750, 0), (800, 40), (875, 100), (1_000, 200), (1_333, 200)] {
            assert_eq!(throttle_ms(pressure), expected, "at {pressure} thousandths");
        }
    }
}
