//! The records of one batch that belong to one channel, encoded as deliveries.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use tailcast_proto::{Offset, PartitionId};

use crate::record::{
    batch::{Record, RecordBatch},
    channel::{Encoding, NodeChannel},
    key_hash::KeyHash,
};

/// The deliveries of one batch of records for one channel: immutable, never empty.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// The offset of each delivery and the end of its encoding. Shared, because sessions clone
    /// chunks by the thousand.
    index: Index,
    /// The timestamp of the last delivery, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// The index of a chunk. Most chunks of a quiet channel have one delivery and need no allocation
/// for it.
#[derive(Debug, Clone)]
enum Index {
    One(Offset, KeyHash),
    Many {
        ends: Arc<[(Offset, u32)]>,
        /// The key of each delivery; `None` for a channel of one key.
        keys: Option<Arc<[KeyHash]>>,
    },
}

/// A part of a chunk: the deliveries from an offset on that fit a byte budget.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) bytes: Bytes,
    pub(crate) deliveries: u64,
    /// The offset after the last delivery of this slice.
    pub(crate) next: Offset,
}

/// Collects deliveries into a chunk.
#[derive(Debug, Default)]
pub(crate) struct ChunkBuilder {
    bytes: BytesMut,
    index: Vec<(Offset, u32)>,
    /// One for each delivery of a channel that spans several keys.
    keys: Vec<KeyHash>,
    timestamp_ms: i64,
}

/// Offset and timestamp of the newest of several records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) offset: Offset,
    /// Timestamp in Kafka, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

impl Chunk {
    /// Returns the newest record of the chunk.
    pub(crate) fn newest(&self) -> Newest {
        Newest { offset: self.last_offset(), timestamp_ms: self.timestamp_ms }
    }

    /// Memory of a chunk besides its bytes and its index, in bytes: its own fields, and the
    /// allocation of a shared `Bytes`.
    const OVERHEAD_BYTES: usize = 128;

    /// Encodes the records of a batch that belong to a channel, from `from` on and before `until`;
    /// `None` if there are none.
    pub(crate) fn of(
        batch: &RecordBatch,
        (from, until): (Offset, Offset),
        partition: PartitionId,
        channel: &NodeChannel,
        encoding: Encoding,
    ) -> Option<Self> {
        let mut builder = ChunkBuilder::default();
        let records = batch.starting_at(from).take_while(|record| record.offset < until);
        for record in records.filter(|record| channel.channel.matches(record.key)) {
            builder.push(&record, partition, channel, encoding);
        }
        builder.build()
    }

    pub(crate) fn last_offset(&self) -> Offset {
        self.offset(self.len() - 1)
    }

    /// Returns the number of deliveries.
    pub(crate) fn len(&self) -> usize {
        match &self.index {
            Index::One(..) => 1,
            Index::Many { ends, .. } => ends.len(),
        }
    }

    /// Returns the indexes of the deliveries at or after `from` and before `until`.
    pub(crate) fn between(&self, from: Offset, until: Offset) -> Range<usize> {
        let first = |bound: Offset| match &self.index {
            Index::One(offset, _) => usize::from(*offset < bound),
            Index::Many { ends, .. } => ends.partition_point(|(offset, _)| *offset < bound),
        };
        first(from)..first(until)
    }

    /// Returns the offset of a delivery.
    ///
    /// # Panics
    ///
    /// If the index is out of range.
    pub(crate) fn offset(&self, number: usize) -> Offset {
        match &self.index {
            Index::One(offset, _) => *offset,
            Index::Many { ends, .. } => ends[number].0,
        }
    }

    /// Returns the key hash of a delivery.
    ///
    /// # Panics
    ///
    /// If the index is out of range.
    pub(crate) fn key(&self, number: usize) -> KeyHash {
        match &self.index {
            Index::One(_, key) => *key,
            Index::Many { keys, .. } => keys.as_ref().map_or(KeyHash::ONLY, |keys| keys[number]),
        }
    }

    /// Returns the encoded length of a range of deliveries, in bytes.
    ///
    /// # Panics
    ///
    /// If the range is empty or out of range.
    pub(crate) fn bytes_of(&self, numbers: Range<usize>) -> usize {
        match &self.index {
            Index::One(..) => self.bytes.len(),
            Index::Many { ends, .. } => {
                let start = numbers.start.checked_sub(1).map_or(0, |before| ends[before].1);
                (ends[numbers.end - 1].1 - start) as usize
            }
        }
    }

    /// Returns the encoding of a range of deliveries.
    ///
    /// # Panics
    ///
    /// If the range is empty or out of range.
    pub(crate) fn slice(&self, numbers: Range<usize>) -> Bytes {
        match &self.index {
            Index::One(..) => self.bytes.clone(),
            Index::Many { ends, .. } => {
                let start = numbers.start.checked_sub(1).map_or(0, |before| ends[before].1);
                self.bytes.slice(start as usize..ends[numbers.end - 1].1 as usize)
            }
        }
    }

    /// Returns the deliveries from `next` on that fit in `budget` bytes, but at least one; `None`
    /// if all deliveries are before `next`.
    pub(crate) fn starting_at(&self, next: Offset, budget: usize) -> Option<Slice> {
        let ends = match &self.index {
            Index::One(offset, _) => {
                let whole = || Slice { bytes: self.bytes.clone(), deliveries: 1, next: offset.next() };
                return (*offset >= next).then(whole);
            }
            Index::Many { ends, .. } => ends,
        };
        let first = ends.partition_point(|(offset, _)| *offset < next);
        let start = if first == 0 { 0 } else { ends[first - 1].1 as usize };
        let rest = ends.get(first..).filter(|rest| !rest.is_empty())?;
        let fitting = rest.partition_point(|(_, end)| *end as usize - start <= budget).max(1);
        let (last, end) = rest[fitting - 1];
        Some(Slice {
            bytes: self.bytes.slice(start..end as usize),
            deliveries: fitting as u64,
            next: last.next(),
        })
    }

    /// Returns the memory that the chunk occupies, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let index = match &self.index {
            Index::One(..) => 0,
            Index::Many { ends, keys } => {
                size_of_val(&**ends) + keys.as_ref().map_or(0, |keys| size_of_val(&**keys))
            }
        };
        self.bytes.len() + index + Self::OVERHEAD_BYTES
    }
}

impl ChunkBuilder {
    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        partition: PartitionId,
        channel: &NodeChannel,
        encoding: Encoding,
    ) {
        channel.encode(record, partition, encoding, &mut self.bytes);
        let end = u32::try_from(self.bytes.len()).expect("a batch of records is bounded far below 4 GiB");
        self.index.push((record.offset, end));
        if channel.channel.spans_keys() {
            self.keys.push(channel.key_hash(record));
        }
        self.timestamp_ms = record.timestamp_ms;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Takes the deliveries collected so far; `None` if there are none. The builder can be reused.
    pub(crate) fn build(&mut self) -> Option<Chunk> {
        let index = match self.index.as_slice() {
            [] => return None,
            [(offset, _)] => Index::One(*offset, self.keys.first().copied().unwrap_or(KeyHash::ONLY)),
            many => {
                let keys = (!self.keys.is_empty()).then(|| self.keys.as_slice().into());
                Index::Many { ends: many.into(), keys }
            }
        };
        // Copied, because the buffer grew by doubling and a log keeps the bytes for minutes. The
        // buffer is reused.
        let bytes = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        self.index.clear();
        self.keys.clear();
        Some(Chunk { bytes, index, timestamp_ms: self.timestamp_ms })
    }
}
