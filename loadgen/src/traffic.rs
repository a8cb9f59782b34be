//! What all connections together received: counters and latencies, cheap enough to be touched once per WebSocket message.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hdrhistogram::Histogram;

/// How many histograms the latencies are spread over, so that threads seldom meet.
const SHARDS: usize = 8;

/// What all connections together received.
#[derive(Debug)]
pub(crate) struct Traffic {
    deliveries: AtomicU64,
    distinct: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    latencies: Vec<Mutex<Histogram<u64>>>,
}

/// The counters at one moment, or the difference of two moments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Deliveries of this run.
    pub(crate) deliveries: u64,
    /// Those that were not repetitions.
    pub(crate) distinct: u64,
    /// WebSocket messages that carried deliveries.
    pub(crate) messages: u64,
    /// Their bytes, without WebSocket framing.
    pub(crate) bytes: u64,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            deliveries: AtomicU64::new(0),
            distinct: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latencies: (0..SHARDS).map(|_| Mutex::new(histogram())).collect(),
        }
    }

    /// Adds what came.
    pub(crate) fn add(&self, count: Count) {
        self.deliveries.fetch_add(count.deliveries, Relaxed);
        self.distinct.fetch_add(count.distinct, Relaxed);
        self.messages.fetch_add(count.messages, Relaxed);
        self.bytes.fetch_add(count.bytes, Relaxed);
    }

    /// Returns the counters.
    pub(crate) fn count(&self) -> Count {
        Count {
            deliveries: self.deliveries.load(Relaxed),
            distinct: self.distinct.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Returns the histogram that a connection records in, in microseconds.
    pub(crate) fn latencies(&self, connection: usize) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies[connection % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all latencies, in microseconds.
    pub(crate) fn all_latencies(&self) -> Histogram<u64> {
        (0..SHARDS).fold(histogram(), |mut all, shard| {
            all.add(&*self.latencies(shard)).expect("the bounds are the same");
            all
        })
    }
}

impl std::ops::Sub for Count {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            deliveries: self.deliveries - earlier.deliveries,
            distinct: self.distinct - earlier.distinct,
            messages: self.messages - earlier.messages,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// Makes a histogram of microseconds up to an hour, exact to 3 digits. Longer ones are recorded as an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order")
}
