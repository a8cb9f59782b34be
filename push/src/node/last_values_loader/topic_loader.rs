//! The task that loads the last values of one topic, and keeps its partitions leased.
//!
//! Partitions are read by the pages of catch-up, up to where the feed began: clients that are behind have their turns with
//! the same readers, and a page that both want is read once.
//!
//! Whatever goes wrong (Kafka is away, the topic is missing, was recreated or has grown) has one answer: after a pause, look
//! at what the topic is by then, and load what is not loaded.

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

/// Keeps the last values of one topic.
pub(super) struct TopicLoader {
    pub(super) topic: Arc<TopicLastValues>,
    pub(super) hub: Arc<Hub>,
    pub(super) topics: Topics,
    pub(super) catch_up: CatchUp,
    pub(super) progress: Arc<LoadingProgress>,
    /// The partitions that are loaded.
    pub(super) leases: BTreeMap<PartitionId, Lease>,
    /// Whether it was said that there is no such topic.
    pub(super) is_missing: bool,
}

/// Why the last values of a topic are not loaded yet, or not any more.
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

/// Before a page is asked for again whose answer was outdated.
const STALE_ANSWER_PAUSE: Duration = Duration::from_millis(100);

impl TopicLoader {
    /// From an error to the next look at the topic; so also how long a topic goes unnoticed that was just created.
    const RETRY_PAUSE: Duration = Duration::from_secs(1);
    /// How often it is said how far loading is. What is loaded sooner is not talked about.
    const REPORT_INTERVAL: Duration = Duration::from_secs(1);
    /// How many partitions of a topic are loaded at the same time.
    const CONCURRENT_PARTITIONS_MAX: usize = 8;

    /// Keeps them until the process drains: sessions that read then hold leases of their own.
    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        tokio::select! {
            () = lifecycle.draining() => {}
            () = self.keep_loaded() => {}
        }
    }

    /// Returns when the topic was given up.
    async fn keep_loaded(&mut self) {
        // Before the first look, so that no change is missed.
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

    /// Loads what is not loaded of the topic as it is.
    async fn load(&mut self) -> Result<(), LoadError> {
        // Before Kafka is asked, which may go on saying for days that there is no such topic: what is held of the old one is
        // memory that nobody else can have.
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
                    // The others go on: what they load is not loaded again.
                    Some(Err(error)) => outcome = Err(error),
                    None => return outcome,
                },
                _ = report_ticks.tick() => {
                    self.progress.set(&topic.name, TopicProgress::Loading { loaded: self.leases.len(), of });
                }
            }
        }
    }

    /// Waits until the topic is not what was loaded.
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

    /// Says why the topic is not loaded: that it is missing once, all else each time.
    fn report(&mut self, error: &LoadError) {
        let topic = &self.topic.name;
        match error {
            LoadError::Topic(LookupError::Unknown { .. }) => {
                if !std::mem::replace(&mut self.is_missing, true) {
                    tracing::warn!(%topic, "last values are to be kept of a topic that does not exist; they are once it does");
                }
                self.progress.set(topic, TopicProgress::Missing);
            }
            // Said by who gave it up.
            LoadError::Values(LastValuesError::TooLarge) => {}
            error => tracing::warn!(%topic, %error, "last values are not loaded yet"),
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
            // Retention goes on meanwhile.
            Err(PageError::Expired { low }) if low > next => {
                kept.expire_before(low);
                next = low;
            }
            // The page was asked for when Kafka had it no more, and the answer is outdated too. It is asked again, not at once.
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
