//! The task that loads the last values of one topic and keeps its partitions leased.
//!
//! It reads each partition through catch-up pages up to where the feed began. It shares the readers
//! with clients that are behind, and a page that both need is read once.
//!
//! All errors (Kafka is unreachable; the topic is missing, was recreated or has grown) are handled
//! in the same way: after a pause, look up the topic and load whatever is not loaded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use tailcast_proto::PartitionId;
use tailcast_services::{
    lifecycle::Lifecycle,
    topics::{LookupError, Topic, TopicChange, Topics},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::Instant,
};

use super::progress::{LoadingProgress, TopicProgress};
use crate::{
    kafka::{
        catch_up::{CatchUp, PageError},
        offsets::OffsetsError,
    },
    log::last_values::{LastValuesError, TopicLastValues},
    node::hub::{Hub, Lease, LeaseError},
};

/// Loads the last values of one topic.
pub(super) struct TopicLoader {
    pub(super) topic: Arc<TopicLastValues>,
    pub(super) hub: Arc<Hub>,
    pub(super) topics: Topics,
    pub(super) catch_up: CatchUp,
    pub(super) progress: Arc<LoadingProgress>,
    /// The partitions that are loaded.
    pub(super) leases: BTreeMap<PartitionId, Lease>,
    /// Whether a warning about the missing topic was logged.
    pub(super) is_missing: bool,
}

/// Why the last values of a topic are not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Topic(#[from] LookupError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Values(#[from] LastValuesError),
}

/// Pause before a page is requested again after an outdated answer.
const STALE_ANSWER_PAUSE: Duration = Duration::from_millis(100);

impl TopicLoader {
    /// Pause between an error and the next lookup of the topic. A topic that was just created goes
    /// unnoticed for this long.
    const RETRY_PAUSE: Duration = Duration::from_secs(1);
    /// Interval at which loading progress is reported. Loading that ends sooner is not reported.
    const REPORT_INTERVAL: Duration = Duration::from_secs(1);
    /// Number of partitions of a topic that are loaded concurrently.
    const CONCURRENT_PARTITIONS_MAX: usize = 8;

    /// Keeps the values loaded until the process drains. Sessions that read them then have leases
    /// of their own.
    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        tokio::select! {
            () = lifecycle.draining() => {}
            () = self.keep_loaded() => {}
        }
    }

    /// Loads the values whenever the topic changes. Returns when the topic exceeded the limit.
    async fn keep_loaded(&mut self) {
        // Subscribed before the first lookup, so that no change is missed.
        let mut changes = self.topics.changes();
        while !self.topic.is_too_large() {
            match self.load().await {
                Ok(()) => {
                    self.progress.set(&self.topic.name, TopicProgress::Loaded);
                    self.changed(&mut changes).await;
                }
                Err(error) => {
                    self.report(&error);
                    tokio::time::sleep(Self::RETRY_PAUSE).await;
                }
            }
        }
        self.leases.clear();
        self.progress.set(&self.topic.name, TopicProgress::TooLarge);
    }

    /// Loads the partitions that are not loaded yet.
    async fn load(&mut self) -> Result<(), LoadError> {
        // Before the lookup, which may fail for days while the topic is missing: leases of the old
        // topic hold memory that others need.
        self.leases.retain(|_, lease| lease.partition.closed().is_none());
        let topic = self.topics.lookup(&self.topic.name).await?;
        self.is_missing = false;
        let ids = (0..topic.partitions).map(PartitionId::new);
        self.leases.retain(|id, lease| {
            let is_of_it = lease.partition.epoch == topic.epoch && id.get() < topic.partitions;
            is_of_it && lease.partition.closed().is_none()
        });
        let missing: Vec<_> = ids.filter(|id| !self.leases.contains_key(id)).collect();
        let of = self.leases.len() + missing.len();

        let source = (&*self.hub, &self.catch_up);
        let loads = missing.into_iter().map(|id| load_partition(source, &topic, id));
        let mut loads = stream::iter(loads).buffer_unordered(Self::CONCURRENT_PARTITIONS_MAX);
        let mut outcome = Ok(());
        let mut report_ticks =
            tokio::time::interval_at(Instant::now() + Self::REPORT_INTERVAL, Self::REPORT_INTERVAL);
        loop {
            tokio::select! {
                loaded = loads.next() => match loaded {
                    Some(Ok(lease)) => drop(self.leases.insert(lease.partition.id, lease)),
                    // The other partitions continue and do not have to be loaded again.
                    Some(Err(error)) => outcome = Err(error),
                    None => return outcome,
                },
                _ = report_ticks.tick() => {
                    self.progress.set(&topic.name, TopicProgress::Loading { loaded: self.leases.len(), of });
                }
            }
        }
    }

    /// Waits until the topic differs from what was loaded.
    async fn changed(&self, changes: &mut broadcast::Receiver<TopicChange>) {
        let kept = self.leases.values().filter_map(|lease| lease.partition.last_values());
        let mut gone: FuturesUnordered<_> = kept.map(|kept| kept.unavailable()).collect();
        loop {
            let change = tokio::select! {
                Some(()) = gone.next() => return,
                change = changes.recv() => change,
            };
            let changed = match &change {
                Ok(TopicChange::Deleted { topic }) => topic,
                Ok(TopicChange::Recreated { old, .. }) => old,
                Ok(TopicChange::Grown { from, .. }) => from,
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            };
            if changed.name == self.topic.name {
                return;
            }
        }
    }

    /// Logs why the topic is not loaded. That it is missing is logged once.
    fn report(&mut self, error: &LoadError) {
        let topic = &self.topic.name;
        match error {
            LoadError::Topic(LookupError::Unknown { .. }) => {
                if !std::mem::replace(&mut self.is_missing, true) {
                    tracing::warn!(%topic, "topic with last_values = true does not exist; it is loaded once it is created");
                }
                self.progress.set(topic, TopicProgress::Missing);
            }
            // Logged by the topic.
            LoadError::Values(LastValuesError::TooLarge) => {}
            error => tracing::warn!(%topic, %error, "loading last values failed; retrying"),
        }
    }
}

/// Leases a partition and loads its last values.
async fn load_partition(
    (hub, catch_up): (&Hub, &CatchUp),
    topic: &Topic,
    id: PartitionId,
) -> Result<Lease, LoadError> {
    let lease = hub.lease(topic, id).await?;
    let partition = &lease.partition;
    let Some(kept) = partition.last_values() else { return Ok(lease) };
    let Some(until) = kept.load_until() else {
        kept.loaded().await?;
        return Ok(lease);
    };
    let mut next = hub.watermarks(&lease, false).await?.low;
    kept.expire_before(next);
    while next < until {
        match catch_up.page(Arc::clone(partition), next).await {
            Ok(page) => {
                kept.load(&page);
                next = page.to;
            }
            // Retention progresses during loading.
            Err(PageError::Expired { low }) if low > next => {
                kept.expire_before(low);
                next = low;
            }
            // The page had expired when it was requested, but `low` is outdated too. Retried after
            // a pause.
            Err(PageError::Expired { .. }) => tokio::time::sleep(STALE_ANSWER_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
        if kept.load_until().is_none() {
            break;
        }
    }
    kept.loaded().await?;
    Ok(lease)
}
