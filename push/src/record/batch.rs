//! Records of one partition as read from Kafka: immutable, shared by windows and catch-up pages.
//!
//! A batch takes two allocations, whatever its size: the concatenated bytes of its records, and an
//! index.
//!
//! Invariant: offsets grow from front to back. They may skip (compaction, transaction markers), so
//! a gap between two neighbours is not a loss, and "the record after `offset`" is found by search,
//! never by arithmetic.

use tailcast_proto::Offset;

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: Offset,
    /// Milliseconds since the Unix epoch; -1 if the record has no timestamp.
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// Encoded by `tailcast_proto::delivery::encode_header`.
    pub(crate) headers: &'a [u8],
}

/// Records of one partition in offset order. Never empty.
#[derive(Debug)]
pub(crate) struct RecordBatch {
    bytes: Box<[u8]>,
    index: Box<[RecordEntry]>,
}

/// Collects records into a batch.
#[derive(Debug, Default)]
pub(crate) struct RecordBatchBuilder {
    bytes: Vec<u8>,
    index: Vec<RecordEntry>,
}

/// Location of a record in the bytes: its key, then its value, then its headers.
#[derive(Debug, Clone, Copy)]
struct RecordEntry {
    offset: Offset,
    timestamp_ms: i64,
    start: u32,
    key: Length,
    value: Length,
    headers: u32,
}

/// The length of a nullable field, in the space of a `u32`.
#[derive(Debug, Clone, Copy)]
struct Length(u32);

impl RecordBatch {
    /// Memory of a batch besides its bytes and its index, in bytes: its own fields, two
    /// allocations, and its slot in a window. Estimated on the high side.
    const OVERHEAD_BYTES: usize = 160;

    /// Returns the records from the first one at or after `offset`.
    pub(crate) fn starting_at(&self, offset: Offset) -> impl Iterator<Item = Record<'_>> {
        let first = self.index.partition_point(|entry| entry.offset < offset);
        self.index[first..].iter().map(|entry| self.record(entry))
    }

    /// Returns the batch without the records before `offset`; `None` if none are left.
    pub(crate) fn without_before(self, offset: Offset) -> Option<Self> {
        if self.first_offset() >= offset {
            return Some(self);
        }
        let mut rest = RecordBatchBuilder::default();
        self.starting_at(offset).for_each(|record| rest.push(&record));
        rest.build()
    }

    /// Returns all records.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.index.iter().map(|entry| self.record(entry))
    }

    /// Returns the total length of keys, values and headers, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn first_offset(&self) -> Offset {
        self.index[0].offset
    }

    pub(crate) fn last_offset(&self) -> Offset {
        self.index[self.index.len() - 1].offset
    }

    /// Returns the timestamp of the last record, in milliseconds since the Unix epoch.
    pub(crate) fn last_timestamp_ms(&self) -> i64 {
        self.index[self.index.len() - 1].timestamp_ms
    }

    /// Returns the memory that the batch occupies, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.index) + Self::OVERHEAD_BYTES
    }

    fn record(&self, entry: &RecordEntry) -> Record<'_> {
        let (key, rest) = entry.key.split(&self.bytes[entry.start as usize..]);
        let (value, rest) = entry.value.split(rest);
        Record {
            offset: entry.offset,
            timestamp_ms: entry.timestamp_ms,
            key,
            value,
            headers: &rest[..entry.headers as usize],
        }
    }
}

impl RecordBatchBuilder {
    /// Size at which a batch is full. Small enough that a window evicts in small steps, and that
    /// `u32` lengths suffice even with the largest record of Kafka on top.
    const BYTES_MAX: usize = 256 * 1024;
    /// Number of records at which a batch is full.
    const RECORDS_MAX: usize = 1_000;

    /// Appends a record.
    ///
    /// Ignores a record that is not after the last one: after a reassignment, a partition may be
    /// read again from a slightly earlier offset.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        if self.last_offset().is_some_and(|last| record.offset <= last) {
            return;
        }
        let length = |bytes: usize| u32::try_from(bytes).expect("Kafka's records are shorter than 2 GiB");
        self.index.push(RecordEntry {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            start: length(self.bytes.len()),
            key: Length::of(record.key),
            value: Length::of(record.value),
            headers: length(record.headers.len()),
        });
        let parts = [record.key.unwrap_or_default(), record.value.unwrap_or_default(), record.headers];
        self.bytes.reserve(parts.map(<[u8]>::len).iter().sum());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= Self::BYTES_MAX || self.index.len() >= Self::RECORDS_MAX
    }

    pub(crate) fn last_offset(&self) -> Option<Offset> {
        self.index.last().map(|entry| entry.offset)
    }

    /// Whether the builder's buffers have the usual size and were not enlarged by a huge record.
    pub(crate) fn has_usual_capacity(&self) -> bool {
        self.bytes.capacity() <= 2 * Self::BYTES_MAX
    }

    /// Takes the records collected so far; `None` if there are none. The builder can be reused.
    pub(crate) fn build(&mut self) -> Option<RecordBatch> {
        if self.index.is_empty() {
            return None;
        }
        let batch = RecordBatch { bytes: self.bytes.as_slice().into(), index: self.index.as_slice().into() };
        self.bytes.clear();
        self.index.clear();
        Some(batch)
    }
}

impl Length {
    const NULL: Self = Self(u32::MAX);

    fn of(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::NULL, |bytes| {
            Self(u32::try_from(bytes.len()).expect("Kafka's records are shorter than 2 GiB"))
        })
    }

    fn split(self, bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
        if self.0 == Self::NULL.0 {
            return (None, bytes);
        }
        let (own, rest) = bytes.split_at(self.0 as usize);
        (Some(own), rest)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a batch of `(offset, key)`. Each value contains its key and offset.
    pub(crate) fn batch(records: &[(i64, &str)]) -> RecordBatch {
        let mut builder = RecordBatchBuilder::default();
        for (offset, key) in records {
            builder.push(&Record {
                offset: Offset::new(*offset).expect("tests use offsets"),
                timestamp_ms: 1_000 + offset,
                key: Some(key.as_bytes()),
                value: Some(format!("{key}@{offset}").as_bytes()),
                headers: &[],
            });
        }
        builder.build().expect("tests make batches of something")
    }

    #[test]
    fn null_and_empty_are_distinguished() {
        let mut builder = RecordBatchBuilder::default();
        let offset = |offset| Offset::new(offset).expect("it is an offset");
        let record =
            |at, key, value| Record { offset: offset(at), timestamp_ms: -1, key, value, headers: b"h" };
        let records = [
            record(3, None, None),
            record(4, Some(b"".as_slice()), Some(b"".as_slice())),
            record(9, Some(b"k".as_slice()), Some(b"value".as_slice())),
        ];
        records.iter().for_each(|record| builder.push(record));

        let batch = builder.build().expect("there are records");
        assert_eq!(batch.records().collect::<Vec<_>>(), records);
        assert!(builder.build().is_none(), "a built batch leaves nothing behind");
    }

    #[test]
    fn the_record_at_or_after_an_offset_is_found_across_gaps() {
        let batch = batch(&[(3, "a"), (4, "a"), (9, "a")]);
        let first = |offset| {
            let offset = Offset::new(offset).expect("it is an offset");
            batch.starting_at(offset).next().map(|record| record.offset.get())
        };
        assert_eq!(
            [first(0), first(4), first(5), first(9), first(10)],
            [Some(3), Some(4), Some(9), Some(9), None]
        );
    }

    #[test]
    fn a_builder_keeps_its_usual_capacity_until_a_record_is_larger_than_batches() {
        let mut builder = RecordBatchBuilder::default();
        let mut push = |at, bytes: usize| {
            let value = vec![b'x'; bytes];
            let offset = Offset::new(at).expect("it is an offset");
            builder.push(&Record { offset, timestamp_ms: -1, key: None, value: Some(&value), headers: &[] });
            drop(builder.build());
            builder.has_usual_capacity()
        };
        assert!(push(0, RecordBatchBuilder::BYTES_MAX));
        assert!(!push(1, 3 * RecordBatchBuilder::BYTES_MAX));
    }

    #[test]
    fn a_record_that_was_read_before_is_ignored() {
        let batch = batch(&[(3, "a"), (4, "a"), (3, "a"), (4, "a"), (5, "a")]);
        assert_eq!(batch.records().map(|record| record.offset.get()).collect::<Vec<_>>(), [3, 4, 5]);
    }
}
