//! A node's metrics under load, sampled several times a second.

use std::time::{Duration, Instant};

use anyhow::Result;
use procfs::process::Process;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    figures::{count, ratio},
    node::Node,
};
use crate::{
    node_metrics::{self, MetricsUrl},
    process,
};

/// The sampling interval. A sample costs the node one metrics page.
const INTERVAL: Duration = Duration::from_millis(50);

/// The samples, in order.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// CPU time since the node started.
    cpu: Duration,
    subscriptions: u64,
    windows_bytes: u64,
}

/// A rise from no subscriptions to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Rise {
    /// Subscriptions per second.
    pub(crate) per_second: Option<f64>,
    /// The node's CPU time per subscription, in microseconds.
    pub(crate) cpu_us_each: Option<f64>,
}

impl Watch {
    /// Samples a node until `work` is done, and returns its result.
    pub(crate) async fn during<T>(
        &mut self,
        node: &Node,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (start, metrics, process) = (Instant::now(), node.metrics()?, process::open(node.pid()?)?);
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = Box::pin(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                _ = ticks.tick() => self.samples.extend(sample(&metrics, &process, start).await),
            }
        }
    }

    /// Returns how subscriptions first rose to this number.
    pub(crate) fn first_rise(&self, subscriptions: u64) -> Option<Rise> {
        rise(&self.samples, subscriptions).map(|(rise, _)| rise)
    }

    /// Returns how subscriptions rose to this number again after they had dropped to none.
    pub(crate) fn second_rise(&self, subscriptions: u64) -> Option<Rise> {
        let (_, after) = rise(&self.samples, subscriptions)?;
        let gone = after.iter().position(|sample| sample.subscriptions == 0)?;
        rise(&after[gone..], subscriptions).map(|(rise, _)| rise)
    }

    /// Returns the maximum size of windows and their encodings.
    pub(crate) fn windows_bytes_max(&self) -> Option<f64> {
        self.samples.iter().map(|sample| sample.windows_bytes).max().map(count)
    }
}

/// Takes a sample; `None` if the node does not answer.
async fn sample(metrics: &MetricsUrl, process: &Process, start: Instant) -> Option<Sample> {
    let page = node_metrics::page(metrics).await.ok()?;
    Some(Sample {
        at: start.elapsed(),
        cpu: process::cpu(process).ok()?,
        subscriptions: node_metrics::value(&page, "tailcast_push_subscriptions")?,
        windows_bytes: node_metrics::value(&page, "tailcast_push_windows_bytes")?,
    })
}

/// Finds the rise from no subscriptions to all, and returns the samples after it.
fn rise(samples: &[Sample], subscriptions: u64) -> Option<(Rise, &[Sample])> {
    let full = samples.iter().position(|sample| sample.subscriptions >= subscriptions)?;
    let first = samples[..full].iter().position(|sample| sample.subscriptions > 0).unwrap_or(full);
    let (from, to) = (samples[first.checked_sub(1)?], samples[full]);
    let cpu = to.cpu.saturating_sub(from.cpu);
    let rise = Rise {
        per_second: ratio(count(subscriptions), to.at.saturating_sub(from.at).as_secs_f64()),
        cpu_us_each: ratio(cpu.as_secs_f64() * 1e6, count(subscriptions)),
    };
    Some((rise, &samples[full..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples 100 ms apart: subscriptions, and CPU in milliseconds.
    fn watch(ticks: &[(u64, u64)]) -> Watch {
        let samples = (0..).zip(ticks).map(|(number, &(subscriptions, cpu))| Sample {
            at: Duration::from_millis(100) * number,
            cpu: Duration::from_millis(cpu),
            subscriptions,
            windows_bytes: subscriptions * 2,
        });
        Watch { samples: samples.collect() }
    }

    #[test]
    fn a_rise_is_from_the_last_empty_sample_to_the_first_full_one() {
        let watch = watch(&[(0, 0), (0, 10), (4, 30), (9, 40), (10, 60), (10, 90)]);
        let rise = Rise { per_second: Some(10.0 / 0.3), cpu_us_each: Some(5_000.0) };
        assert_eq!(watch.first_rise(10), Some(rise));
        assert_eq!(watch.windows_bytes_max(), Some(20.0));
    }

    #[test]
    fn a_second_rise_starts_after_all_subscriptions_are_gone() {
        let watch = watch(&[(0, 0), (10, 10), (10, 20), (3, 30), (0, 30), (0, 40), (10, 60), (10, 70)]);
        let rise = Rise { per_second: Some(100.0), cpu_us_each: Some(2_000.0) };
        assert_eq!(watch.second_rise(10), Some(rise));
    }

    #[test]
    fn an_unobserved_rise_has_no_figures() {
        assert_eq!(watch(&[(0, 0), (9, 10)]).first_rise(10), None);
        assert_eq!(watch(&[(10, 0)]).first_rise(10), None);
        assert_eq!(watch(&[(0, 0), (10, 10), (3, 30), (10, 60)]).second_rise(10), None);
        assert_eq!(watch(&[]).windows_bytes_max(), None);
    }
}
