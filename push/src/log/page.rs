//! A range of a partition, read from Kafka to catch up.

use bytes::{Bytes, BytesMut};
use tailcast_proto::{Offset, PartitionId};

use crate::{
    log::conflation::OffsetMap,
    record::{
        batch::{Record, RecordBatch},
        channel::{Encoding, NodeChannel},
        chunk::Newest,
        key_hash::KeyHash,
    },
};

/// A range of a partition: every record at or after `from` and before `to`.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// `None` if the range has no record, because of compaction or transaction markers.
    batch: Option<RecordBatch>,
}

/// The result of reading from a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageRead {
    pub(crate) deliveries: u64,
    /// Number of records before `next` that were left out.
    pub(crate) skipped: u64,
    /// The newest delivery; `None` if there is none.
    pub(crate) newest: Option<Newest>,
    /// The offset up to which the page was read.
    pub(crate) next: Offset,
    /// Whether the page has more than fitted in the budget.
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

    /// Returns the memory that the page occupies, in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.batch.as_ref().map_or(0, RecordBatch::memory)
    }

    /// Encodes the records of a channel at or after `next` and before `until`, up to `budget` bytes
    /// but at least one record, and appends them to `out`. With an offset map, only the latest
    /// record of each key.
    pub(crate) fn read(
        &self,
        (next, until): (Offset, Offset),
        budget: usize,
        (channel, encoding, partition): (&NodeChannel, Encoding, PartitionId),
        offset_map: Option<&OffsetMap>,
        out: &mut Vec<Bytes>,
    ) -> PageRead {
        let mut encoded = BytesMut::new();
        let mut read =
            PageRead { deliveries: 0, skipped: 0, newest: None, next: self.to.min(until), more: false };
        for record in self.of_channel(next, channel).take_while(|record| record.offset < until) {
            if encoded.len() >= budget {
                read.next = record.offset;
                read.more = true;
                break;
            }
            // Without an offset map, no hash is computed.
            if offset_map
                .is_none_or(|offset_map| offset_map.is_latest(channel.key_hash(&record), record.offset))
            {
                channel.encode(&record, partition, encoding, &mut encoded);
                read.deliveries += 1;
                read.newest = Some(Newest { offset: record.offset, timestamp_ms: record.timestamp_ms });
            } else {
                read.skipped += 1;
            }
        }
        if !encoded.is_empty() {
            out.push(encoded.freeze());
        }
        read
    }

    /// Calls `note` with the key and offset of each record of a channel from `next` on.
    pub(crate) fn for_each_key(
        &self,
        next: Offset,
        channel: &NodeChannel,
        mut note: impl FnMut(KeyHash, Offset),
    ) {
        self.of_channel(next, channel).for_each(|record| note(channel.key_hash(&record), record.offset));
    }

    fn of_channel(&self, next: Offset, channel: &NodeChannel) -> impl Iterator<Item = Record<'_>> {
        let records = self.batch.iter().flat_map(move |batch| batch.starting_at(next));
        records.filter(|record| channel.channel.matches(record.key))
    }
}
