//! The verdict of a run.

use serde::{Deserialize, Serialize};

use super::Report;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Clean,
    /// Something was lost, repeated, out of order or corrupt, or the run could not be completed.
    Violated,
    /// Loadgen was too slow for its figures to be trusted.
    Saturated,
    ThresholdFailed,
}

impl Verdict {
    /// Returns the verdict of a report.
    ///
    /// Violations come first: they are true however late loadgen was. Thresholds mean nothing when
    /// it was saturated.
    pub(crate) fn of(report: &Report) -> Self {
        let nothing = report.events.acknowledged == 0;
        if !report.violations.is_empty() || !report.incidents.is_empty() || nothing {
            Self::Violated
        } else if !report.loadgen.saturated.is_empty() {
            Self::Saturated
        } else if report.thresholds.iter().any(|threshold| threshold.kept == Some(false)) {
            Self::ThresholdFailed
        } else {
            Self::Clean
        }
    }

    /// Returns its exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Violated => 1,
            Self::Saturated => 98,
            Self::ThresholdFailed => 99,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ThresholdResult, sample};

    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), expected: Verdict) {
        let mut report = sample::bare();
        change(&mut report);
        assert_eq!(Verdict::of(&report), expected);
    }

    fn fail(report: &mut Report) {
        let threshold = "lost==0".into();
        report.thresholds.push(ThresholdResult {
            threshold,
            value: None,
            bound: None,
            kept: Some(false),
            summary: String::new(),
        });
    }

    #[test]
    fn violations_take_precedence_over_saturation_and_that_over_thresholds() {
        check(|_| {}, Verdict::Clean);
        check(fail, Verdict::ThresholdFailed);
        check(
            |report| {
                fail(report);
                report.loadgen.saturated.push("late".into());
            },
            Verdict::Saturated,
        );
        check(
            |report| {
                report.loadgen.saturated.push("late".into());
                report.violations.repeated = 1;
            },
            Verdict::Violated,
        );
        check(|report| report.incidents.push("a publisher ended".into()), Verdict::Violated);
        check(|report| report.events.acknowledged = 0, Verdict::Violated);
        check(|report| report.notes.push("a server was restarted".into()), Verdict::Clean);
    }
}
