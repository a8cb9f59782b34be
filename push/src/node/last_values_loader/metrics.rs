//! Metrics of last values, collected on scrape.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::log::last_values::LastValues;

#[derive(Debug)]
struct LastValuesCollector(Weak<LastValues>);

/// Registers the metrics.
pub(super) fn register(registry: &mut Registry, last_values: &Arc<LastValues>) {
    registry.register_collector(Box::new(LastValuesCollector(Arc::downgrade(last_values))));
}

impl Collector for LastValuesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(last_values) = self.0.upgrade() else { return Ok(()) };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let bytes = Some(&Unit::Bytes);
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: usize| {
            let metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            ConstGauge::new(count(value)).encode(metric)
        };
        let budget = &last_values.budget;
        gauge("tailcast_push_last_values", "Bytes held by last values", bytes, budget.used())?;
        let help = "Memory limit of last values";
        gauge("tailcast_push_last_values_max", help, bytes, budget.max())?;
        let too_large = last_values.topics.values().filter(|topic| topic.is_too_large()).count();
        let help = "Topics whose last values are not kept because they exceeded the limit";
        gauge("tailcast_push_last_values_topics_too_large", help, None, too_large)?;

        let help = "Keys whose last value is kept";
        let mut metric =
            encoder.encode_descriptor("tailcast_push_last_values_keys", help, None, MetricType::Gauge)?;
        for topic in last_values.topics.values() {
            let labels = [("topic", topic.name.to_string())];
            ConstGauge::new(count(topic.count())).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
