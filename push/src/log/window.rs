//! The recent records of one partition, and the logs of its channels.
//!
//! The feed appends; sessions attach and read. A window is bounded in bytes, not records, because
//! it is limited by the node's memory. It does not evict by itself, because all windows share one
//! budget.
//!
//! Plain data: no lock, no clock, no IO. [`crate::partition::Partition`] puts it behind a lock.
//!
//! Invariant: `tail` ≤ every record's offset < `head`, and every record that the partition has in
//! between is here.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use tailcast_proto::{Offset, PartitionId};

use crate::{
    log::{channel_log::ChannelLog, interest::Interest},
    record::{
        batch::RecordBatch,
        channel::{Encoding, NodeChannel},
        chunk::Chunk,
    },
};

/// The recent records of one partition, and the logs of its channels.
#[derive(Debug)]
pub(crate) struct Window {
    partition: PartitionId,
    segments: VecDeque<Segment>,
    interest: Interest,
    tail: Offset,
    head: Offset,
    memory: usize,
}

/// A batch of records, and the logs that have a chunk of it.
#[derive(Debug)]
struct Segment {
    batch: RecordBatch,
    logs: Vec<Weak<ChannelLog>>,
}

impl Window {
    /// Creates an empty window whose next record is the one at `head`.
    pub(crate) fn new(partition: PartitionId, head: Offset) -> Self {
        Self {
            partition,
            segments: VecDeque::new(),
            interest: Interest::default(),
            tail: head,
            head,
            memory: 0,
        }
    }

    /// The offset from which on the window has every record.
    pub(crate) fn tail(&self) -> Offset {
        self.tail
    }

    /// The offset after the last record.
    pub(crate) fn head(&self) -> Offset {
        self.head
    }

    /// Returns the memory of the window and its logs, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Appends records and encodes them for the channels they belong to. Returns the logs that
    /// grew.
    ///
    /// Records before the head are ignored: they were read again after a reassignment.
    pub(crate) fn append(&mut self, batch: RecordBatch) -> Vec<Arc<ChannelLog>> {
        let Some(batch) = batch.without_before(self.head) else { return Vec::new() };
        let grown = self.encode(&batch);
        self.head = batch.last_offset().next();
        self.memory += batch.memory() + grown.len() * size_of::<Weak<ChannelLog>>();
        self.segments.push_back(Segment { batch, logs: grown.iter().map(Arc::downgrade).collect() });
        grown
    }

    /// Returns the log of a channel, complete from `from` on if the window still has those records.
    /// Creates it on the first call.
    pub(crate) fn attach(
        &mut self,
        channel: &Arc<NodeChannel>,
        encoding: Encoding,
        from: Offset,
    ) -> Arc<ChannelLog> {
        let log = self.interest.log(channel, encoding).unwrap_or_else(|| {
            let log = ChannelLog::new(Arc::clone(channel), encoding, self.head);
            self.interest.insert(Arc::clone(&log));
            log
        });
        self.extend_back(&log, from);
        log
    }

    /// Removes a log that has no subscribers.
    pub(crate) fn detach(&mut self, log: &ChannelLog) {
        self.memory -= log.chunks(|chunks| chunks.memory());
        self.interest.remove(log);
    }

    /// Evicts the oldest batch and its chunks in the logs. Returns whether there was one.
    pub(crate) fn evict_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.pop_front() else { return false };
        self.tail = oldest.batch.last_offset().next();
        self.memory -= oldest.batch.memory() + oldest.logs.len() * size_of::<Weak<ChannelLog>>();
        for log in oldest.logs.iter().filter_map(Weak::upgrade) {
            // The memory of a removed log was subtracted when it was removed.
            if self.interest.log(&log.channel, log.encoding).is_some_and(|known| Arc::ptr_eq(&known, &log)) {
                self.memory -= log.chunks(|chunks| chunks.evict_before(self.tail));
            }
        }
        true
    }

    /// Drops all records and continues at `head`: Kafka no longer has the records in between.
    pub(crate) fn restart(&mut self, head: Offset) {
        while self.evict_oldest() {}
        self.tail = head;
        self.head = head;
        for log in self.interest.logs() {
            self.memory -= log.chunks(|chunks| chunks.evict_before(head));
        }
    }

    /// Returns every log.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &Arc<ChannelLog>> {
        self.interest.logs()
    }

    /// Encodes a batch for the channels its records belong to. Returns the logs that grew.
    fn encode(&mut self, batch: &RecordBatch) -> Vec<Arc<ChannelLog>> {
        let (mut touched, mut matching) = (Vec::new(), Vec::new());
        for record in batch.records() {
            // Ids are collected first, because `interest` is borrowed while they are found.
            self.interest.matching(record.key, |id| matching.push(id));
            for id in matching.drain(..) {
                let (channel, logs) = self.interest.logs_mut(id);
                let mut is_first = false;
                for log in logs {
                    is_first |= log.building.is_empty();
                    log.building.push(&record, self.partition, channel, log.log.encoding);
                }
                if is_first {
                    touched.push(id);
                }
            }
        }
        let mut grown = Vec::new();
        for id in touched {
            for log in self.interest.logs_mut(id).1 {
                let Some(chunk) = log.building.build() else { continue };
                self.memory += log.log.chunks(|chunks| chunks.append(chunk));
                grown.push(Arc::clone(&log.log));
            }
        }
        grown
    }

    /// Encodes the window's records from `from` up to the beginning of a log, and prepends them.
    fn extend_back(&mut self, log: &Arc<ChannelLog>, from: Offset) {
        let complete_from = log.chunks(|chunks| chunks.complete_from());
        if from >= complete_from || from < self.tail {
            return;
        }
        let first = self.segments.partition_point(|segment| segment.batch.last_offset() < from);
        let mut older = Vec::new();
        for segment in self.segments.range_mut(first..) {
            if segment.batch.first_offset() >= complete_from {
                break;
            }
            let range = (from, complete_from);
            if let Some(chunk) = Chunk::of(&segment.batch, range, self.partition, &log.channel, log.encoding)
            {
                segment.logs.push(Arc::downgrade(log));
                self.memory += size_of::<Weak<ChannelLog>>();
                older.push(chunk);
            }
        }
        self.memory += log.chunks(|chunks| chunks.extend_back(from, older));
    }
}

#[cfg(test)]
mod tests;
