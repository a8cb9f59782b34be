//! The tasks that load last values and keep their partitions leased.
//!
//! For each topic configured with `last_values`, a loader leases all partitions for the life of the
//! process and reads their records through catch-up pages. A node becomes ready when all topics are
//! loaded, so that clients that start with a snapshot do not wait. Deliberately absent: a copy on
//! disk. A node that starts reads the values from Kafka again.

mod metrics;
mod progress;
mod topic_loader;

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use tailcast_services::{lifecycle::Lifecycle, readiness::Readiness, topics::Topics};

use self::{progress::LoadingProgress, topic_loader::TopicLoader};
use super::hub::Hub;
use crate::{kafka::catch_up::CatchUp, log::last_values::LastValues};

/// Starts a loader for each topic. Registers the readiness condition and the metrics.
pub(crate) fn start(
    last_values: &Arc<LastValues>,
    hub: &Arc<Hub>,
    topics: &Topics,
    catch_up: &CatchUp,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
    registry: &mut Registry,
) {
    metrics::register(registry, last_values);
    if last_values.topics.is_empty() {
        return;
    }
    let condition = readiness.condition("push.last_values", "waiting for the first lookup of topics");
    let progress = LoadingProgress::new(last_values.topics.keys(), condition);
    for topic in last_values.topics.values() {
        let loader = TopicLoader {
            topic: Arc::clone(topic),
            hub: Arc::clone(hub),
            topics: topics.clone(),
            catch_up: catch_up.clone(),
            progress: Arc::clone(&progress),
            leases: BTreeMap::new(),
            is_missing: false,
        };
        lifecycle.spawn("last-values", loader.run(lifecycle.clone()));
    }
}
