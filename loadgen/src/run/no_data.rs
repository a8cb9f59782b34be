//! Runs in which nothing was delivered in the measured stretch: those in which nothing should have been, and the others.

use std::fmt;

/// Why there is nothing that could have been measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoData {
    /// Kafka has no event of the measured stretch: the way in is dead, or the run was over before.
    Unpublished,
    /// None that it has was for anybody. That may be wanted: idle connections cost memory.
    Unsubscribed,
    /// So many deliveries should have come, and none did before the stretch was over.
    Undelivered(u64),
}

impl NoData {
    /// Holds the deliveries that were measured against what there was to measure: so many deliveries, of so many events that were
    /// acknowledged. `silent`: nobody had to get anything meanwhile.
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
                "no event of the measured stretch was acknowledged, so there is nothing to say of deliveries",
            ),
            Self::Unsubscribed => f.write_str(
                "no event of the measured stretch was for any of the connections, so there is nothing to say of deliveries: give \
                 fewer --keys, or more --rate, --duration or --connections",
            ),
            Self::Undelivered(measurable) => {
                write!(f, "none of {measurable} deliveries came before the measured stretch was over, so nothing was measured")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Such a run was clean, and ended with 0.
    #[test]
    fn nothing_is_fine_only_where_nothing_was_due_or_nobody_had_to_read() {
        assert_eq!(NoData::of(0, 5, 1, false), Some(NoData::Undelivered(5)));
        assert_eq!(NoData::of(0, 5, 1, true), None);
        assert_eq!(NoData::of(0, 0, 1, false), Some(NoData::Unsubscribed));
        assert_eq!(NoData::of(1, 5, 1, false), None);
    }

    // After an early interrupt too, fewer keys were advised.
    #[test]
    fn fewer_keys_are_advised_only_where_there_were_events() {
        let text = |acknowledged| NoData::of(0, 0, acknowledged, false).expect("nothing came").to_string();
        assert!(text(1).contains("fewer --keys"), "{}", text(1));
        assert!(!text(0).contains("--keys") && text(0).contains("was acknowledged"), "{}", text(0));
    }
}
