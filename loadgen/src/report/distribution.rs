//! A distribution as percentiles.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::float;
use crate::interval::Distribution;

/// A distribution, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// The number of values; if it is 0, the others mean nothing.
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

impl From<&Distribution> for Percentiles {
    fn from(distribution: &Distribution) -> Self {
        let histogram = &distribution.0;
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        }
    }
}

impl Percentiles {
    /// Returns the median in milliseconds; `None` without any values.
    pub(crate) fn p50_ms(&self) -> Option<f64> {
        self.ms(self.p50)
    }

    /// Returns the 99th percentile in milliseconds; `None` without any values.
    pub(crate) fn p99_ms(&self) -> Option<f64> {
        self.ms(self.p99)
    }

    fn ms(&self, us: u64) -> Option<f64> {
        (self.count > 0).then(|| float(us) / 1e3)
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("not measured: no values");
        }
        let mut line = String::new();
        let all = [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("max", self.max),
        ];
        for (name, us) in all {
            write!(line, "{name} {:.2}  ", float(us) / 1000.0)?;
        }
        write!(f, "{}  (ms)", line.trim_end())
    }
}
