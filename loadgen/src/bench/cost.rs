//! The cost of reading or publishing in time and CPU, of two sides measured in turn.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::figures::{count, ratio};
use crate::process;

/// The cost of a number of records or events.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) count: u64,
    pub(crate) took: Duration,
    /// User and system time of the measured process.
    pub(crate) cpu: Duration,
}

impl Cost {
    /// Measures work of this process on a number of records or events.
    pub(crate) fn of(count: u64, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        Self::by(count, process::own_cpu, work)
    }

    /// Measures work during which another process uses CPU time.
    pub(crate) fn by(
        count: u64,
        cpu: impl Fn() -> Result<Duration>,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let (start, before) = (Instant::now(), cpu()?);
        work()?;
        Ok(Self { count, took: start.elapsed(), cpu: cpu()?.saturating_sub(before) })
    }

    pub(crate) fn per_second(&self) -> Option<f64> {
        ratio(count(self.count), self.took.as_secs_f64())
    }

    pub(crate) fn per_cpu_second(&self) -> Option<f64> {
        ratio(count(self.count), self.cpu.as_secs_f64())
    }

    pub(crate) fn cpu_us_each(&self) -> Option<f64> {
        ratio(self.cpu.as_secs_f64() * 1e6, count(self.count))
    }
}

/// Measures two sides in turn. The side that goes first alternates, because the first may find a
/// quieter machine.
pub(crate) fn alternate(
    rounds: u8,
    one: impl Fn() -> Result<Cost>,
    other: impl Fn() -> Result<Cost>,
) -> Result<Vec<(Cost, Cost)>> {
    let round = |number: u8| {
        if number.is_multiple_of(2) {
            let first = one()?;
            Ok((first, other()?))
        } else {
            let first = other()?;
            Ok((one()?, first))
        }
    };
    (0..rounds).map(round).collect()
}
