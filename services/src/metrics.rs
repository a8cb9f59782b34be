//! The metrics of this process, for Prometheus.
//!
//! A thin layer over `prometheus_client`: parts register their metrics in a [`Registry`], under a
//! prefix that is written out in full (`registry.sub_registry_with_prefix("tailcast_push")`), so
//! that a metric's name can be found in the source. Children of labelled metrics are looked up once
//! and kept, because a lookup costs more than counting.
//!
//! Invariant: no label value comes from a client. A topic or a partition is a label only once Kafka
//! has confirmed it.

mod process;
mod sharded;
mod text;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use sharded::ShardedCounter;
pub use text::{Exposition, encode};

/// The registry of a process, with the metrics of every process: `tailcast_build_info` and
/// `process_*`.
#[derive(Debug)]
pub struct Metrics {
    /// The registry for parts, without a prefix.
    pub registry: Registry,
}

impl Metrics {
    /// A registry with the metrics of the process itself.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let build = Family::<[(&str, &str); 1], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("tailcast_build_info", "Version of the running process; always 1", build);
        Self { registry }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
