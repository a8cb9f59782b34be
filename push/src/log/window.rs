//! The recent records of one partition, and the logs of its channels.
//!
//! The feed appends, sessions attach and read. A window is bounded in bytes, not records, because the bound is the node's
//! memory; it does not evict by itself, because the budget is the node's and not the window's.
//!
//! Plain data: no lock, no clock, no IO. [`crate::partition::Partition`] puts it behind a lock.
//!
//! Invariant: `tail` ≤ every record's offset < `head`, and every record that the partition has in between is here.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use tailcast_proto::{Offset, PartitionId};

use crate::{
    log::{channel_log::ChannelLog, interest::Interest},
    record::{
        batch::RecordBatch,
        chunk::{Chunk, Encoding, NodeChannel},
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
    /// Makes an empty window: the next record is the one at `head`, and nothing before it is here.
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

    /// The first offset from which on the window is complete.
    pub(crate) fn tail(&self) -> Offset {
        self.tail
    }

    /// The offset after the last record.
    pub(crate) fn head(&self) -> Offset {
        self.head
    }

    /// What the window and its logs hold of the node's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Appends records and encodes them for the channels that they belong to. Returns the logs that grew.
    ///
    /// Records before the head were read twice, after a reassignment, and are left out.
    pub(crate) fn append(&mut self, batch: RecordBatch) -> Vec<Arc<ChannelLog>> {
        let Some(batch) = batch.without_before(self.head) else { return Vec::new() };
        let grown = self.encode(&batch);
        self.head = batch.last_offset().next();
        self.memory += batch.memory() + grown.len() * size_of::<Weak<ChannelLog>>();
        self.segments.push_back(Segment { batch, logs: grown.iter().map(Arc::downgrade).collect() });
        grown
    }

    /// Returns the log of a channel, complete from `from` on if the window still has that. Makes it at the first call.
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

    /// Forgets a log that has no subscriber any more.
    pub(crate) fn detach(&mut self, log: &ChannelLog) {
        self.memory -= log.chunks(|chunks| chunks.memory());
        self.interest.remove(log);
    }

    /// Drops the oldest segment and its chunks in the logs. Returns whether there was one.
    pub(crate) fn evict_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.pop_front() else { return false };
        self.tail = oldest.batch.last_offset().next();
        self.memory -= oldest.batch.memory() + oldest.logs.len() * size_of::<Weak<ChannelLog>>();
        for log in oldest.logs.iter().filter_map(Weak::upgrade) {
            // A log that was forgotten is not counted any more, and evicting from it would be counted twice.
            if self.interest.log(&log.channel, log.encoding).is_some_and(|known| Arc::ptr_eq(&known, &log)) {
                self.memory -= log.chunks(|chunks| chunks.evict_before(self.tail));
            }
        }
        true
    }

    /// Forgets all records and goes on at `head`: what lies between is gone from Kafka.
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

    /// Encodes a batch for the channels that its records belong to. Returns the logs that grew.
    fn encode(&mut self, batch: &RecordBatch) -> Vec<Arc<ChannelLog>> {
        let (mut touched, mut matching) = (Vec::new(), Vec::new());
        for record in batch.records() {
            // Ids first: which entries match is read from the same maps that the chunks are kept beside.
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

    /// Encodes for a log what the window has from `from` up to where the log begins.
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
