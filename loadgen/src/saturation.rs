//! Whether loadgen itself was too slow for its measurements.

use std::time::Duration;

use crate::report::Percentiles;

/// The share of its CPUs that loadgen may use before it becomes the bottleneck.
const CPUS_SHARE_MAX: f64 = 0.9;

/// Loadgen's own performance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnPerformance {
    pub(crate) lateness_us: Percentiles,
    pub(crate) lag_us: Percentiles,
    /// CPUs used, and CPUs available to its threads.
    pub(crate) cpus: f64,
    pub(crate) cpus_max: f64,
}

impl OwnPerformance {
    /// Returns the reasons why loadgen was saturated; empty if it was not.
    pub(crate) fn saturated(&self, late_max: Duration) -> Vec<String> {
        let late = |us: u64| Duration::from_micros(us) > late_max;
        let ms = |us: u64| Duration::from_micros(us).as_millis();
        let (lateness, lag) = (self.lateness_us.p99, self.lag_us.p99);
        let mut reasons = Vec::new();
        if late(lateness) {
            reasons.push(format!(
                "it published events {} ms late at p99; --late-max is {} ms",
                ms(lateness),
                late_max.as_millis()
            ));
        }
        if late(lag) {
            reasons.push(format!(
                "it woke its own tasks {} ms late at p99; --late-max is {} ms",
                ms(lag),
                late_max.as_millis()
            ));
        }
        if self.cpus > self.cpus_max * CPUS_SHARE_MAX {
            reasons.push(format!("it used {:.2} of its {:.0} CPUs", self.cpus, self.cpus_max));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::Distribution;

    #[track_caller]
    fn check(lateness_ms: u64, lag_ms: u64, cpus: f64, expected: &[&str]) {
        let percentiles = |ms: u64| {
            let mut distribution = Distribution::new();
            distribution.record(ms * 1000);
            Percentiles::from(&distribution)
        };
        let (lateness_us, lag_us) = (percentiles(lateness_ms), percentiles(lag_ms));
        let own = OwnPerformance { lateness_us, lag_us, cpus, cpus_max: 2.0 };
        let found = own.saturated(Duration::from_millis(10));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?}");
        }
    }

    #[test]
    fn loadgen_is_saturated_when_late_or_out_of_cpu() {
        check(9, 9, 1.7, &[]);
        check(12, 0, 0.5, &["published events 12 ms late"]);
        check(0, 12, 0.5, &["own tasks 12 ms late"]);
        check(0, 0, 1.9, &["1.90 of its 2 CPUs"]);
        check(20, 20, 2.0, &["published", "woke", "used"]);
    }
}
