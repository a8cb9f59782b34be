//! Leases on partitions, and the slots that count them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tailcast_proto::Epoch;
use tokio::sync::OnceCell;

use crate::{
    kafka::{
        offsets::{OffsetsError, Watermarks},
        tail::AssignError,
    },
    partition::Partition,
};

/// The entry of a partition, from the first request for a lease on.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) partition: OnceCell<Arc<Partition>>,
    /// Number of partitions of the topic when this one was opened.
    pub(super) count: AtomicU32,
    pub(super) leases: AtomicUsize,
    /// When the last lease was dropped.
    pub(super) idle_since: Mutex<Option<Instant>>,
    /// The watermarks, and when they were queried. Locked during the query, so that a thousand
    /// concurrent resumes cost one query.
    pub(super) watermarks: tokio::sync::Mutex<Option<(Instant, Watermarks)>>,
}

/// Keeps a partition tailed while it lives.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) guard: LeaseGuard,
    pub(crate) partition: Arc<Partition>,
}

/// Counts as a lease from the request on, so that a cancelled request is subtracted again.
#[derive(Debug)]
pub(super) struct LeaseGuard(pub(super) Arc<Slot>);

/// Why a partition cannot be tailed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// Kafka returned no end of the partition.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// librdkafka rejected the partition.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// This node tails the partition of another incarnation. Either this node or the caller is
    /// outdated.
    #[error("the topic is being recreated")]
    OtherEpoch {
        /// The incarnation that this node tails.
        found: Epoch,
    },
    /// This node opened the partition when the topic had another partition count. Either this node
    /// or the caller is outdated, and the key may belong to another partition.
    #[error("partitions are being added to the topic")]
    OtherCount {
        /// Number of partitions of the topic when the partition was opened.
        found: u32,
    },
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Some(Instant::now());
        self.0.leases.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "benchmarks"))]
impl Lease {
    /// Creates a lease on a partition that is in no hub.
    pub(crate) fn of(partition: &Arc<Partition>) -> Self {
        Self { guard: LeaseGuard(Arc::default()), partition: Arc::clone(partition) }
    }
}
