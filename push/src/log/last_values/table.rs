//! The latest value of each key of one partition.
//!
//! The table has two writers: the loader, from the beginning of the partition to where the feed
//! began, and the feed, from there on. So records arrive out of order while the table is being
//! loaded, and a record older than the known one of its key is ignored.
//!
//! A value is stored at its record's offset and moves up when its key is updated. A reader that
//! goes upwards to where the table was complete when it began meets each value once. If a value has
//! moved or was deleted, the log has the record that did it.
//!
//! Plain data: no lock, no clock, no IO. [`super::partition::PartitionLastValues`] puts it behind a
//! lock.
//!
//! Invariant: once loaded, the table has the values before `covered_to` that compaction would
//! leave: the last record of each key, without keys whose last record is a tombstone.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use tailcast_proto::{Channel, Keys, Offset};

use crate::record::batch::{Record, RecordBatch};

/// The latest value of each key of one partition.
#[derive(Debug)]
pub(super) struct LastValueTable {
    values: BTreeMap<Offset, LastValue>,
    /// The offset of the latest record of each key. While the table is being loaded, it includes
    /// keys that the feed saw deleted; otherwise the loader would restore their older values.
    latest: HashMap<Bytes, Offset>,
    /// The loader has read every record before this offset.
    loaded_to: Offset,
    /// The offset at which the feed began, and at which the loader ends.
    feed_from: Offset,
    /// The feed has appended every record from `feed_from` up to here.
    covered_to: Offset,
    memory: usize,
}

/// A value, with everything that its delivery contains.
#[derive(Debug, Clone)]
pub(super) struct LastValue {
    /// The key, then the value, then the headers.
    bytes: Bytes,
    key_end: usize,
    value_end: usize,
    timestamp_ms: i64,
}

/// The result of reading from the table.
#[derive(Debug)]
pub(super) struct TableRead {
    pub(super) values: Vec<(Offset, LastValue)>,
    /// The offset up to which the table was read.
    pub(super) next: Offset,
    /// Whether there are more values than fitted in the budget or the steps.
    pub(super) more: bool,
}

impl LastValueTable {
    /// Memory of a value besides its own bytes, in bytes: an entry of both maps at their worst load
    /// (103 and 94), the reference count of the bytes (32), and rounding by the allocator.
    pub(super) const OVERHEAD_BYTES: usize = 256;

    /// Creates the table of a partition that the feed reads from `feed_from` on. It is loaded once
    /// the loader has read up to there; at once if there is nothing before.
    pub(super) fn new(feed_from: Offset) -> Self {
        Self {
            values: BTreeMap::new(),
            latest: HashMap::new(),
            loaded_to: Offset::ZERO,
            feed_from,
            covered_to: feed_from,
            memory: 0,
        }
    }

    /// Whether the table is complete.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded_to >= self.feed_from
    }

    /// The offset up to which records have to be loaded.
    pub(super) fn feed_from(&self) -> Offset {
        self.feed_from
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the memory of the table, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Takes records from the loader: every record between the end of its last page and `to`.
    pub(super) fn load<'a>(&mut self, records: impl Iterator<Item = Record<'a>>, to: Offset) {
        let (from, until) = (self.loaded_to, self.feed_from);
        // The feed takes the records from `feed_from` on.
        for record in records.filter(|record| from <= record.offset && record.offset < until) {
            self.put(&record);
        }
        if !self.is_loaded() {
            self.loaded_to = to.min(until).max(from);
            if self.is_loaded() {
                self.forget_deleted();
            }
        }
    }

    /// Takes that Kafka has no record before `low`: the loader continues there. Values loaded from
    /// before `low` are removed, because a record that replaced or deleted one may have expired
    /// before it was read.
    pub(super) fn expire_before(&mut self, low: Offset) {
        while let Some((at, value)) = self.values.first_key_value()
            && *at < low
        {
            let key = value.bytes.slice(..value.key_end);
            self.remove(&key);
        }
        self.load(std::iter::empty(), low);
    }

    /// Takes records from the feed. Ignores those that it has appended before.
    pub(super) fn append(&mut self, batch: &RecordBatch) {
        for record in batch.starting_at(self.covered_to) {
            self.put(&record);
        }
        self.covered_to = self.covered_to.max(batch.last_offset().next());
    }

    /// Drops all values and continues at `head`: Kafka has no earlier records.
    pub(super) fn restart(&mut self, head: Offset) {
        *self = Self::new(head);
        self.loaded_to = head;
    }

    /// Returns the values of a channel from `next` on and before `until`: up to `budget` bytes, but
    /// at least one if there is one, from at most `steps_max` values examined.
    pub(super) fn unread(
        &self,
        channel: &Channel,
        (next, until): (Offset, Offset),
        budget: usize,
        steps_max: usize,
    ) -> TableRead {
        let mut unread = TableRead { values: Vec::new(), next: next.max(until), more: false };
        if next >= until {
            return unread;
        }
        if let Keys::Exact(key) = &channel.keys {
            let at = self.latest.get(key.as_bytes()).filter(|at| (next..until).contains(*at));
            unread.values.extend(at.and_then(|at| Some((*at, self.values.get(at)?.clone()))));
            return unread;
        }
        let mut bytes = 0;
        for (step, (at, value)) in self.values.range(next..until).enumerate() {
            if step == steps_max || (bytes >= budget && !unread.values.is_empty()) {
                (unread.next, unread.more) = (*at, true);
                break;
            }
            if channel.matches(Some(value.key())) {
                bytes += value.bytes.len();
                unread.values.push((*at, value.clone()));
            }
        }
        unread
    }

    fn put(&mut self, record: &Record<'_>) {
        // Records without a key have no latest record of their key.
        let Some(key) = record.key else { return };
        if self.latest.get(key).is_some_and(|latest| *latest >= record.offset) {
            return;
        }
        self.remove(key);
        let is_older_to_come = !self.is_loaded() && record.offset >= self.feed_from;
        if let Some(value) = LastValue::of(key, record) {
            self.memory += value.memory();
            self.latest.insert(value.bytes.slice(..value.key_end), record.offset);
            self.values.insert(record.offset, value);
        } else if is_older_to_come {
            self.memory += key.len() + Self::OVERHEAD_BYTES;
            self.latest.insert(Bytes::copy_from_slice(key), record.offset);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(at) = self.latest.remove(key) {
            let value = self.values.remove(&at);
            self.memory -= value.map_or(key.len() + Self::OVERHEAD_BYTES, |value| value.memory());
        }
    }

    fn forget_deleted(&mut self) {
        let (values, memory) = (&self.values, &mut self.memory);
        self.latest.retain(|key, at| {
            let has_value = values.contains_key(at);
            *memory -= if has_value { 0 } else { key.len() + Self::OVERHEAD_BYTES };
            has_value
        });
        // Loading adds keys that turn out to be deleted, so the map may be much too large.
        self.latest.shrink_to_fit();
    }
}

impl LastValue {
    /// Copies a record out of a batch that is dropped later; `None` for a tombstone.
    fn of(key: &[u8], record: &Record<'_>) -> Option<Self> {
        let value = record.value?;
        let mut bytes = BytesMut::with_capacity(key.len() + value.len() + record.headers.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        let (key_end, value_end) = (key.len(), bytes.len());
        bytes.extend_from_slice(record.headers);
        Some(Self { bytes: bytes.freeze(), key_end, value_end, timestamp_ms: record.timestamp_ms })
    }

    pub(super) fn record(&self, offset: Offset) -> Record<'_> {
        Record {
            offset,
            timestamp_ms: self.timestamp_ms,
            key: Some(self.key()),
            value: Some(&self.bytes[self.key_end..self.value_end]),
            headers: &self.bytes[self.value_end..],
        }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_end]
    }

    fn memory(&self) -> usize {
        self.bytes.len() + LastValueTable::OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests;
