//! A stretch of a partition, read from Kafka.

use bytes::{Bytes, BytesMut};
use tailcast_proto::{Offset, PartitionId};

use crate::{
    channel_log::{Encoding, KeyHash, NodeChannel},
    record_batch::{Record, RecordBatch},
};

/// A stretch of a partition: every record at or after `from` and before `to`.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// `None` when the stretch has no record: compaction or transaction markers left a gap.
    batch: Option<RecordBatch>,
}

/// What a cursor took from a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageRead {
    pub(crate) deliveries: u64,
    /// How many records before `next` were left out.
    pub(crate) skipped: u64,
    /// Up to where the cursor has seen the partition.
    pub(crate) next: Offset,
    /// Whether the budget ended before the page did.
    pub(crate) more: bool,
}

impl Page {
    pub(crate) fn new(from: Offset, to: Offset, batch: Option<RecordBatch>) -> Self {
        debug_assert!(from < to, "a page goes forward, or its reader would never arrive");
        Self { from, to, batch }
    }

    /// Returns all records.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.batch.iter().flat_map(RecordBatch::records)
    }

    /// What the page holds of the node's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.batch.as_ref().map_or(0, RecordBatch::memory)
    }

    /// Encodes what a channel has at or after `next`, before `until`, and `is_wanted`: up to `budget` bytes but at least one
    /// record, appended to `out`.
    pub(crate) fn read(
        &self,
        (next, until): (Offset, Offset),
        budget: usize,
        (channel, encoding, partition): (&NodeChannel, Encoding, PartitionId),
        is_wanted: impl Fn(KeyHash, Offset) -> bool,
        out: &mut Vec<Bytes>,
    ) -> PageRead {
        let mut encoded = BytesMut::new();
        let mut read = PageRead { deliveries: 0, skipped: 0, next: self.to.min(until), more: false };
        let records = self.batch.iter().flat_map(|batch| batch.starting_at(next));
        let records = records.take_while(|record| record.offset < until);
        for record in records.filter(|record| channel.channel.matches(record.key)) {
            if encoded.len() >= budget {
                read.next = record.offset;
                read.more = true;
                break;
            }
            if is_wanted(channel.key_hash(&record), record.offset) {
                channel.encode(&record, partition, encoding, &mut encoded);
                read.deliveries += 1;
            } else {
                read.skipped += 1;
            }
        }
        if !encoded.is_empty() {
            out.push(encoded.freeze());
        }
        read
    }

    /// Calls `note` with the key and the offset of each record of a channel from `next` on.
    pub(crate) fn survey(&self, next: Offset, channel: &NodeChannel, mut note: impl FnMut(KeyHash, Offset)) {
        let records = self.batch.iter().flat_map(|batch| batch.starting_at(next));
        for record in records.filter(|record| channel.channel.matches(record.key)) {
            note(channel.key_hash(&record), record.offset);
        }
    }
}
