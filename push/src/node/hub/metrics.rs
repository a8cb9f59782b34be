//! The figures of the hub, read when Prometheus asks: partitions, memory, lag.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::{Registry, Unit},
};

use super::Hub;
use crate::clock::wall_clock_ms;

/// What is read from the hub when Prometheus asks.
#[derive(Debug)]
struct HubCollector(Weak<Hub>);

/// Registers what is read from the hub when Prometheus asks.
pub(crate) fn register(registry: &mut Registry, hub: &Arc<Hub>) {
    registry.register_collector(Box::new(HubCollector(Arc::downgrade(hub))));
}

impl Collector for HubCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(hub) = self.0.upgrade() else { return Ok(()) };
        let partitions = hub.partitions();
        let now = wall_clock_ms();

        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: i64| {
            let gauge = ConstGauge::new(value);
            let metric =
                encoder.encode_descriptor(name, help, unit, prometheus_client::metrics::MetricType::Gauge)?;
            gauge.encode(metric)
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        gauge("tailcast_push_partitions", "Partitions that are tailed", None, count(partitions.len()))?;
        let help = "Keys known of what conflated subscriptions have to catch up on";
        gauge("tailcast_push_surveyed_keys", help, None, count(hub.offset_map_keys()))?;
        let (used, max) = hub.memory();
        gauge(
            "tailcast_push_windows",
            "Bytes held by windows and channel logs",
            Some(&Unit::Bytes),
            count(used),
        )?;
        let help = "Bytes that windows and channel logs may hold";
        gauge("tailcast_push_windows_max", help, Some(&Unit::Bytes), count(max))?;

        let mut lag = |name: &str,
                       help: &str,
                       unit: Option<&Unit>,
                       of: &dyn Fn(crate::partition::Lag) -> f64| {
            let mut metric =
                encoder.encode_descriptor(name, help, unit, prometheus_client::metrics::MetricType::Gauge)?;
            for partition in &partitions {
                let labels =
                    [("topic", partition.topic.to_string()), ("partition", partition.id.to_string())];
                ConstGauge::new(of(partition.lag(now))).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a lag beyond 2^52 is not a figure that anybody reads"
        )]
        let (records, seconds) = (
            |lag: crate::partition::Lag| lag.records as f64,
            |lag: crate::partition::Lag| lag.ms as f64 / 1e3,
        );
        let help = "Records in Kafka that this node has not read yet";
        lag("tailcast_push_lag_records", help, None, &records)?;
        let help = "Age of what this node has not read yet";
        lag("tailcast_push_lag", help, Some(&Unit::Seconds), &seconds)
    }
}
