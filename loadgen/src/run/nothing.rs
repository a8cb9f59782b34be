//! Runs in which nothing was delivered in the measured stretch: those in which nothing should have been, and the others.

use std::fmt;

/// Why there is nothing that could have been measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// No event of the measured stretch was for anybody. That may be wanted: idle connections cost memory.
    Due,
    /// So many deliveries should have come, and none did before the stretch was over.
    Came(u64),
}

impl Nothing {
    /// Holds what was measured against what there was to measure. `away`: nobody had to read meanwhile.
    pub(super) fn of(measured: u64, measurable: u64, away: bool) -> Option<Self> {
        match (measured, measurable) {
            (0, 0) => Some(Self::Due),
            (0, _) if !away => Some(Self::Came(measurable)),
            _ => None,
        }
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due => f.write_str(
                "no event of the measured stretch was for any of the connections, so there is nothing to say of deliveries: give \
                 fewer --keys, or more --rate, --duration or --connections",
            ),
            Self::Came(measurable) => {
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
        assert_eq!(Nothing::of(0, 5, false), Some(Nothing::Came(5)));
        assert_eq!(Nothing::of(0, 5, true), None);
        assert_eq!(Nothing::of(0, 0, false), Some(Nothing::Due));
        assert_eq!(Nothing::of(1, 5, false), None);
    }
}
