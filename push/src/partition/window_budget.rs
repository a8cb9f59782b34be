//! The memory that the windows of all partitions share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::log::conflation::OffsetMapLimit;

/// The memory limit of all windows together, with what they use of it.
#[derive(Debug)]
pub(crate) struct WindowBudget {
    pub(super) used: AtomicUsize,
    max: usize,
    offset_map_limit: Arc<OffsetMapLimit>,
}

impl WindowBudget {
    /// Maximum number of keys in the offset maps of all channels, at about 40 bytes each.
    const OFFSET_MAP_KEYS_MAX: usize = 1_000_000;

    pub(crate) fn new(max: usize) -> Arc<Self> {
        let offset_map_limit = OffsetMapLimit::new(Self::OFFSET_MAP_KEYS_MAX);
        Arc::new(Self { used: AtomicUsize::new(0), max, offset_map_limit })
    }

    /// Returns the limit of keys in offset maps, with the number in use.
    pub(crate) fn offset_map_limit(&self) -> &Arc<OffsetMapLimit> {
        &self.offset_map_limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}
