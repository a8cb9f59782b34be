//! The partitions that this node tails, with their leases, and the numbers of subscribed channels.
//!
//! A partition is assigned to the tail consumer with the first lease on it, and released some
//! seconds after the last one, so that a page that is reloaded finds its window again.
//!
//! Invariant: the holder of a [`Lease`] sees every record after the lease was given. A partition is
//! assigned at Kafka's end before its first lease is given, and is never sought.

mod channels;
mod lease;
mod metrics;
mod recovery;
mod time_lookup;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use tailcast_proto::{Channel, Epoch, PartitionId, TopicName, push::v1::UnsubscribeReason};
use tailcast_services::topics::Topic;

use self::lease::{LeaseGuard, Slot};
pub(crate) use self::{
    lease::{Lease, LeaseError},
    metrics::register,
    time_lookup::TimeLookupError,
};
use crate::{
    clock::wall_clock_ms,
    kafka::{
        catch_up::CatchUp,
        offsets::{KafkaOffsets, OffsetsError, Watermarks},
        tail::Tail,
    },
    log::last_values::LastValues,
    partition::{Partition, WindowBudget},
    record::channel::NodeChannel,
    wake::fan_out::FanOut,
};

/// The partitions that this node tails, and the channels that are subscribed to.
pub(crate) struct Hub {
    slots: DashMap<(TopicName, PartitionId), Arc<Slot>>,
    channels: DashMap<Channel, Weak<NodeChannel>>,
    /// For each topic to which partitions were added: its incarnation and the earlier partition
    /// counts that this node has seen.
    earlier_counts: DashMap<TopicName, (Epoch, BTreeSet<u32>)>,
    next_alias: AtomicU32,
    tail: Arc<Tail>,
    offsets: KafkaOffsets,
    /// Scans partitions for a time, if the brokers have no time index.
    time_scan: Option<CatchUp>,
    last_values: Arc<LastValues>,
    budget: Arc<WindowBudget>,
    fan_out: Arc<FanOut>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("partitions", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Maximum age of cached watermarks. Retention works by the minute.
    const WATERMARKS_AGE_MAX: Duration = Duration::from_secs(1);

    pub(crate) fn new(
        tail: Arc<Tail>,
        offsets: KafkaOffsets,
        time_scan: Option<CatchUp>,
        last_values: Arc<LastValues>,
        budget: Arc<WindowBudget>,
        fan_out: Arc<FanOut>,
    ) -> Arc<Self> {
        Arc::new(Self {
            slots: DashMap::new(),
            channels: DashMap::new(),
            earlier_counts: DashMap::new(),
            // An absent protobuf field decodes to 0.
            next_alias: AtomicU32::new(1),
            tail,
            offsets,
            time_scan,
            last_values,
            budget,
            fan_out,
        })
    }

    /// Tails a partition for as long as the lease exists. Cancel safe.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer, or if the partition is tailed with another epoch or partition
    /// count.
    pub(crate) async fn lease(&self, topic: &Topic, id: PartitionId) -> Result<Lease, LeaseError> {
        let guard = self.guard(&topic.name, id);
        let partition = guard.0.partition.get_or_try_init(async || {
            let partition = self.open(topic, id).await?;
            guard.0.count.store(topic.partitions, Ordering::Release);
            Ok::<_, LeaseError>(partition)
        });
        let partition = partition.await?;
        if partition.epoch != topic.epoch {
            return Err(LeaseError::OtherEpoch { found: partition.epoch });
        }
        let count = guard.0.count.load(Ordering::Acquire);
        if count != topic.partitions {
            return Err(LeaseError::OtherCount { found: count });
        }
        Ok(Lease { partition: Arc::clone(partition), guard })
    }

    fn guard(&self, topic: &TopicName, id: PartitionId) -> LeaseGuard {
        let slot = self.slots.entry((topic.clone(), id)).or_default();
        // Under the entry's lock, under which a slot without leases is removed.
        slot.leases.fetch_add(1, Ordering::SeqCst);
        LeaseGuard(Arc::clone(&slot))
    }

    /// Returns the watermarks of a leased partition, at most a second old, or queried now if
    /// `fresh`. Cancel safe.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer.
    pub(crate) async fn watermarks(&self, lease: &Lease, fresh: bool) -> Result<Watermarks, OffsetsError> {
        let asked = Instant::now();
        let mut known = lease.guard.0.watermarks.lock().await;
        let oldest = if fresh { asked } else { asked.checked_sub(Self::WATERMARKS_AGE_MAX).unwrap_or(asked) };
        if let Some((at, watermarks)) = *known
            && at >= oldest
        {
            return Ok(watermarks);
        }
        let at = Instant::now();
        let watermarks = self.offsets.watermarks(&lease.partition.topic, lease.partition.id).await?;
        *known = Some((at, watermarks));
        Ok(watermarks)
    }

    /// Returns all partitions that are tailed.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.slots.iter().filter_map(|slot| slot.partition.get().cloned()).collect()
    }

    /// Returns the memory of all windows and its limit, in bytes.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.budget.used(), self.budget.max())
    }

    /// Returns the number of keys in offset maps.
    pub(crate) fn offset_map_keys(&self) -> usize {
        self.budget.offset_map_limit().used()
    }

    /// Releases partitions that had no lease for `linger`, and removes channels without
    /// subscribers.
    pub(crate) fn release_idle(&self, now: Instant, linger: Duration) {
        self.slots.retain(|_, slot| {
            let idle = slot.leases.load(Ordering::SeqCst) == 0
                && slot.idle_since.lock().is_none_or(|since| now.duration_since(since) >= linger);
            if idle && let Some(partition) = slot.partition.get() {
                // Under the entry's lock, so that no new lease can be given meanwhile.
                partition.retire();
                self.tail.release(partition);
            }
            !idle
        });
        self.channels.retain(|_, channel| channel.strong_count() > 0);
    }

    /// Ends every subscription to an incarnation of a topic, and removes its partitions.
    pub(crate) fn close_topic(&self, topic: &TopicName, epoch: Epoch, reason: UnsubscribeReason) {
        self.close_slots(reason, |name, _, partition| name == topic && partition.epoch == epoch);
    }

    fn close_slots(
        &self,
        reason: UnsubscribeReason,
        is_meant: impl Fn(&TopicName, &Slot, &Partition) -> bool,
    ) {
        self.slots.retain(|(name, _), slot| {
            // A slot that is being opened stays, because a caller waits for it.
            let partition = slot.partition.get().filter(|partition| is_meant(name, slot, partition));
            if let Some(partition) = partition {
                partition.retire();
                self.tail.release(partition);
                partition.close(reason);
            }
            partition.is_none()
        });
    }

    async fn open(&self, topic: &Topic, id: PartitionId) -> Result<Arc<Partition>, LeaseError> {
        let (tail, name) = (Arc::clone(&self.tail), topic.name.clone());
        self.offsets.wait_for(move || tail.load_metadata(&name, id)).await?;
        let watermarks = self.offsets.watermarks(&topic.name, id).await?;
        let (budget, fan_out) = (Arc::clone(&self.budget), Arc::clone(&self.fan_out));
        let last_values = self.last_values.keep(&topic.name, watermarks.high);
        let name = topic.name.clone();
        let partition = Partition::new(name, topic.epoch, id, watermarks.high, budget, fan_out, last_values);
        partition.set_high_watermark(watermarks.high, wall_clock_ms());
        self.tail.assign(&partition)?;
        tracing::debug!(topic = %topic.name, partition = %id, at = %watermarks.high, "tailing");
        Ok(partition)
    }
}
