//! Totals over all connections of this process: counters and latencies, cheap enough for an update
//! per WebSocket message, and collected every interval.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::interval::{Count, Latencies, StormCount};

/// The number of sets of histograms, so that threads rarely contend.
const SHARDS: usize = 4;

/// Totals over all connections of this process.
#[derive(Debug)]
pub(crate) struct Traffic {
    deliveries: AtomicU64,
    distinct: AtomicU64,
    skipped: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    shards: Vec<Mutex<Latencies>>,
    storm: Mutex<StormCount>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            deliveries: AtomicU64::new(0),
            distinct: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::new(Latencies::new())).collect(),
            storm: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, count: Count) {
        self.deliveries.fetch_add(count.deliveries, Relaxed);
        self.distinct.fetch_add(count.distinct, Relaxed);
        self.skipped.fetch_add(count.skipped, Relaxed);
        self.messages.fetch_add(count.messages, Relaxed);
        self.bytes.fetch_add(count.bytes, Relaxed);
    }

    pub(crate) fn count(&self) -> Count {
        Count {
            deliveries: self.deliveries.load(Relaxed),
            distinct: self.distinct.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Returns the histograms for a connection.
    pub(crate) fn latencies(&self, connection: u32) -> MutexGuard<'_, Latencies> {
        self.shards[connection as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the latencies recorded since the last call, and resets them.
    pub(crate) fn take_latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(&shard);
            shard.reset();
        }
        all
    }

    /// Returns the progress of the reconnect storm.
    pub(crate) fn storm(&self) -> MutexGuard<'_, StormCount> {
        self.storm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
