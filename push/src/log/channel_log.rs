//! The log of one channel in one partition, encoded once for all its subscribers.
//!
//! The feed appends chunks; sessions read them, each from its own cursor. A subscriber adds only a
//! ringer to the log, so one that does not read costs nothing here.
//!
//! Invariant: from `complete_from` up to the partition's head, the log has every record of the
//! channel. Earlier records may be in the window or in Kafka and are never assumed absent.
//! `complete_from` may be before the window's tail, because evicting records of other channels
//! takes nothing from this log.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak, atomic::Ordering},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tailcast_proto::Offset;

use crate::{
    log::conflation::{OffsetMap, OffsetMapLimit},
    record::{
        channel::{Encoding, NodeChannel},
        chunk::{Chunk, Newest},
    },
    wake::doorbell::{Doorbell, Ringer},
};

/// The log of one channel in one partition, in one encoding.
#[derive(Debug)]
pub(crate) struct ChannelLog {
    pub(crate) channel: Arc<NodeChannel>,
    pub(crate) encoding: Encoding,
    chunks: Mutex<Chunks>,
    /// Not under the lock of the chunks: ringing a thousand subscribers must not block those that
    /// already read.
    subscribers: Mutex<Vec<Arc<Ringer>>>,
    /// The latest offset of each key, while a conflated subscription is behind.
    offset_map: Mutex<Weak<RwLock<OffsetMap>>>,
}

/// The chunks of a log: plain data.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: VecDeque<Chunk>,
    complete_from: Offset,
}

/// The result of reading from a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// Deliveries, possibly none.
    Deliveries {
        deliveries: u64,
        /// The offset up to which the log was read.
        next: Offset,
        /// Whether the log has more than fitted in the budget.
        more: bool,
        /// The newest delivery; `None` if there is none.
        newest: Option<Newest>,
    },
    /// The log does not have the cursor's next record, or is not known to.
    Behind,
}

impl Chunks {
    pub(crate) fn new(complete_from: Offset) -> Self {
        Self { chunks: VecDeque::new(), complete_from }
    }

    /// Appends a chunk. Returns its memory, in bytes.
    pub(crate) fn append(&mut self, chunk: Chunk) -> usize {
        let memory = chunk.memory();
        self.chunks.push_back(chunk);
        memory
    }

    /// Prepends older chunks, so that the log is complete from `from`. Returns their memory, in
    /// bytes.
    pub(crate) fn extend_back(&mut self, from: Offset, older: Vec<Chunk>) -> usize {
        let memory = older.iter().map(Chunk::memory).sum();
        for chunk in older.into_iter().rev() {
            self.chunks.push_front(chunk);
        }
        self.complete_from = self.complete_from.min(from);
        memory
    }

    /// Evicts chunks that end before `tail`. Returns the memory that was freed, in bytes.
    pub(crate) fn evict_before(&mut self, tail: Offset) -> usize {
        let mut freed = 0;
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.last_offset() < tail) {
            freed += chunk.memory();
        }
        self.complete_from = self.complete_from.max(tail);
        freed
    }

    /// Returns at most `most` chunks, beginning with the first that has a record at or after
    /// `next`; `None` if the log is not complete from `next`.
    pub(crate) fn unread(&self, next: Offset, most: usize) -> Option<Vec<Chunk>> {
        let first = self.first_unread(next);
        (next >= self.complete_from).then(|| self.chunks.range(first..).take(most).cloned().collect())
    }

    /// Returns the index of the first chunk that has a record at or after `next`.
    fn first_unread(&self, next: Offset) -> usize {
        // Most cursors are at the end.
        match self.chunks.back() {
            Some(last) if last.last_offset() >= next => {
                self.chunks.partition_point(|chunk| chunk.last_offset() < next)
            }
            Some(_) | None => self.chunks.len(),
        }
    }

    pub(crate) fn complete_from(&self) -> Offset {
        self.complete_from
    }

    pub(crate) fn memory(&self) -> usize {
        self.chunks.iter().map(Chunk::memory).sum()
    }

    /// Reads from `next` on, up to `budget` bytes but at least one delivery, and appends the
    /// encodings to `out`.
    pub(crate) fn read(&self, next: Offset, mut budget: usize, out: &mut Vec<Bytes>) -> LogRead {
        if next < self.complete_from {
            return LogRead::Behind;
        }
        let mut read = (0, next, None);
        for chunk in self.chunks.range(self.first_unread(next)..) {
            let Some(slice) = chunk.starting_at(read.1, budget) else { continue };
            if slice.bytes.len() > budget && read.0 > 0 {
                break;
            }
            budget = budget.saturating_sub(slice.bytes.len());
            read = (read.0 + slice.deliveries, slice.next, Some(chunk.newest()));
            out.push(slice.bytes);
            // A delivery of a later chunk may still fit, but adding it would leave a gap.
            if budget == 0 || slice.next <= chunk.last_offset() {
                break;
            }
        }
        let more = self.chunks.back().is_some_and(|last| last.last_offset() >= read.1);
        LogRead::Deliveries { deliveries: read.0, next: read.1, more, newest: read.2 }
    }
}

impl ChannelLog {
    pub(crate) fn new(channel: Arc<NodeChannel>, encoding: Encoding, complete_from: Offset) -> Arc<Self> {
        Arc::new(Self {
            channel,
            encoding,
            chunks: Mutex::new(Chunks::new(complete_from)),
            subscribers: Mutex::new(Vec::new()),
            offset_map: Mutex::default(),
        })
    }

    /// Runs `with` on the chunks under their lock. Keep it short: readers are blocked meanwhile.
    pub(crate) fn chunks<T>(&self, with: impl FnOnce(&mut Chunks) -> T) -> T {
        with(&mut self.chunks.lock())
    }

    /// Returns the offset map that the conflated subscriptions of this log share. Creates it if
    /// there is none.
    pub(crate) fn offset_map(&self, keys: &Arc<OffsetMapLimit>) -> Arc<RwLock<OffsetMap>> {
        let mut known = self.offset_map.lock();
        known.upgrade().unwrap_or_else(|| {
            let offset_map = Arc::new(RwLock::new(OffsetMap::new(Arc::clone(keys))));
            *known = Arc::downgrade(&offset_map);
            offset_map
        })
    }

    /// Rings for every subscriber. Adds the doorbells that the fan-out has to serve to `rung`.
    pub(crate) fn ring(&self, rung: &mut Vec<Arc<Doorbell>>) {
        rung.extend(self.subscribers.lock().iter().filter_map(|subscriber| subscriber.ring()).cloned());
    }

    /// Wakes every subscriber, including those whose ringer is silent.
    pub(crate) fn alert(&self) {
        for subscriber in &*self.subscribers.lock() {
            subscriber.alert();
        }
    }

    pub(crate) fn join(&self, ringer: Arc<Ringer>) {
        let mut subscribers = self.subscribers.lock();
        ringer.slot.store(subscribers.len(), Ordering::Relaxed);
        subscribers.push(ringer);
    }

    /// Removes a subscriber. Returns whether it was the last one.
    pub(crate) fn leave(&self, ringer: &Arc<Ringer>) -> bool {
        let mut subscribers = self.subscribers.lock();
        let slot = ringer.slot.load(Ordering::Relaxed);
        if subscribers.get(slot).is_some_and(|found| Arc::ptr_eq(found, ringer)) {
            subscribers.swap_remove(slot);
            if let Some(moved) = subscribers.get(slot) {
                moved.slot.store(slot, Ordering::Relaxed);
            }
        }
        subscribers.is_empty()
    }
}
