//! The latest value of each key of one partition.
//!
//! Two write: the loader, upwards from the partition's beginning to where the feed began, and the feed, from there on. So
//! while it is loaded a table learns of records in an order that is not theirs, and what is older than what it has of a
//! key is left out.
//!
//! A value lies at the offset of its record and moves up when its key is updated. So whoever reads upwards to where the
//! table was complete when it began meets each value once, or finds in the log, from there on, the record that moved it or
//! deleted it.
//!
//! Plain data: no lock, no clock, no IO. [`super::partition::PartitionLastValues`] puts it behind a lock.
//!
//! Invariant: once loaded, the values before `covered_to` are those that Kafka's log has before it when only the last
//! record of each key counts, and keys whose last record is a tombstone are absent.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use tailcast_proto::{Channel, Keys, Offset};

use crate::record::batch::{Record, RecordBatch};

/// The latest value of each key of one partition.
#[derive(Debug)]
pub(super) struct Table {
    values: BTreeMap<Offset, Value>,
    /// The offset of the latest record of each key; while the table is loaded also of keys that the feed saw deleted, or
    /// the loader would bring their older values back.
    latest: HashMap<Bytes, Offset>,
    /// The loader has seen every record before this.
    loaded_to: Offset,
    /// Where the feed began, and the loader ends.
    feed_from: Offset,
    /// The feed has seen every record from `feed_from` up to here.
    covered_to: Offset,
    memory: usize,
}

/// A value with all that its delivery says.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// The key, then the value, then the headers.
    bytes: Bytes,
    key_end: usize,
    value_end: usize,
    timestamp_ms: i64,
}

/// What a reader found.
#[derive(Debug)]
pub(super) struct TableRead {
    pub(super) values: Vec<(Offset, Value)>,
    /// Up to where the reader has seen the table.
    pub(super) next: Offset,
    /// Whether the budget or the steps ended before the table did.
    pub(super) more: bool,
}

impl Table {
    /// What a value takes beside its own bytes, in bytes: an entry of either map at their worst load (103 and 94), the
    /// count of who shares the bytes (32), and what an allocator rounds up.
    pub(super) const OVERHEAD_BYTES: usize = 256;

    /// Makes the table of a partition that the feed reads from `feed_from` on. It is loaded once the loader has been there;
    /// at once when there is nothing before.
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

    /// Where the feed began: what is before has to be loaded.
    pub(super) fn feed_from(&self) -> Offset {
        self.feed_from
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// What the table holds of the node's memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Takes what the loader read: every record that Kafka has between what it read before and `to`.
    pub(super) fn load<'a>(&mut self, records: impl Iterator<Item = Record<'a>>, to: Offset) {
        let (from, until) = (self.loaded_to, self.feed_from);
        // The feed saw the records from there on, and sees to them.
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

    /// Notes that Kafka has nothing before `low` any more: the loader goes on there. What it read before goes too, since a
    /// record that would have replaced or deleted it may be among those that it can no longer read.
    pub(super) fn expire_before(&mut self, low: Offset) {
        while let Some((at, value)) = self.values.first_key_value()
            && *at < low
        {
            let key = value.bytes.slice(..value.key_end);
            self.remove(&key);
        }
        self.load(std::iter::empty(), low);
    }

    /// Takes what the feed read. Records that it read before are left out.
    pub(super) fn append(&mut self, batch: &RecordBatch) {
        for record in batch.starting_at(self.covered_to) {
            self.put(&record);
        }
        self.covered_to = self.covered_to.max(batch.last_offset().next());
    }

    /// Forgets all and goes on at `head`: Kafka has nothing before it any more.
    pub(super) fn restart(&mut self, head: Offset) {
        *self = Self::new(head);
        self.loaded_to = head;
    }

    /// Returns what a channel has from `next` on and before `until`: values of up to `budget` bytes, but at least one if
    /// there is one, from at most `steps_max` that are looked at.
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
        // A record without a key is of no key: there is no latest one.
        let Some(key) = record.key else { return };
        if self.latest.get(key).is_some_and(|latest| *latest >= record.offset) {
            return;
        }
        self.remove(key);
        let is_older_to_come = !self.is_loaded() && record.offset >= self.feed_from;
        if let Some(value) = Value::of(key, record) {
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
        // Loading is when most keys are met, and a table may keep few of them.
        self.latest.shrink_to_fit();
    }
}

impl Value {
    /// Copies a record, out of a batch that is not kept; `None` for a tombstone.
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
        self.bytes.len() + Table::OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests;
