//! Runs without a delivery in the measured period: by design, or because of a failure.

use std::fmt;

/// Why there is nothing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoData {
    /// No event of the measured period was acknowledged: publishing failed, or the run ended
    /// before.
    Unpublished,
    /// Events were acknowledged, but no connection subscribes to them. That may be intended: idle
    /// connections cost memory.
    Unsubscribed,
    /// This many deliveries were due, and none arrived within the measured period.
    Undelivered(u64),
}

impl NoData {
    /// Compares the measured deliveries with the deliveries and acknowledged events that could have
    /// been measured. `silent`: no delivery had to arrive meanwhile.
    pub(super) fn of(measured: u64, measurable: u64, acknowledged: u64, silent: bool) -> Option<Self> {
        match (measured, measurable, acknowledged) {
            (0, 0, 0) => Some(Self::Unpublished),
            (0, 0, _) => Some(Self::Unsubscribed),
            (0, ..) if !silent => Some(Self::Undelivered(measurable)),
            _ => None,
        }
    }
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpublished => f.write_str(
                "no event of the measured period was acknowledged, so no delivery could be measured",
            ),
            Self::Unsubscribed => f.write_str(
                "no connection subscribes to any event of the measured period, so no delivery could be \
                 measured: use fewer --keys, or more --rate, --duration or --connections",
            ),
            Self::Undelivered(measurable) => {
                write!(
                    f,
                    "none of {measurable} deliveries arrived within the measured period, so nothing was measured"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Such a run used to be clean, and exited with 0.
    #[test]
    fn no_delivery_is_acceptable_only_if_none_was_due() {
        assert_eq!(NoData::of(0, 5, 1, false), Some(NoData::Undelivered(5)));
        assert_eq!(NoData::of(0, 5, 1, true), None);
        assert_eq!(NoData::of(0, 0, 1, false), Some(NoData::Unsubscribed));
        assert_eq!(NoData::of(1, 5, 1, false), None);
    }

    // After an early interrupt, the advice to use fewer keys is wrong.
    #[test]
    fn fewer_keys_are_suggested_only_if_events_were_acknowledged() {
        let text = |acknowledged| NoData::of(0, 0, acknowledged, false).expect("nothing came").to_string();
        assert!(text(1).contains("fewer --keys"), "{}", text(1));
        assert!(!text(0).contains("--keys") && text(0).contains("was acknowledged"), "{}", text(0));
    }
}
