//! Metrics of the hub, collected on scrape: partitions, memory, lag.

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

/// Collects the metrics of the hub on scrape.
#[derive(Debug)]
struct HubCollector(Weak<Hub>);

/// Registers the metrics of the hub.
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
        gauge("tailcast_push_partitions", "Tailed partitions", None, count(partitions.len()))?;
        let help = "Keys tracked while conflated subscriptions catch up";
        gauge("tailcast_push_offset_map_keys", help, None, count(hub.offset_map_keys()))?;
        let (used, max) = hub.memory();
        gauge(
            "tailcast_push_windows",
            "Bytes held by windows and channel logs",
            Some(&Unit::Bytes),
            count(used),
        )?;
        let help = "Memory limit of windows and channel logs";
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
        let help = "Maximum age of the records that this node has not read yet";
        lag("tailcast_push_lag", help, Some(&Unit::Seconds), &seconds)
    }
}
