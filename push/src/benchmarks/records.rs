//! Records as collected by the feed.

use tailcast_proto::Offset;

use crate::record::batch::{Record, RecordBatch, RecordBatchBuilder};

/// Consecutive records of one partition.
#[derive(Debug)]
pub struct Records(pub(crate) RecordBatch);

impl Records {
    /// Collects `count` records from the offset `first` on, with `keys` keys (`key-0`, `key-1`, …)
    /// in turn and values of `bytes` bytes.
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    #[must_use]
    pub fn collect(first: Offset, count: usize, keys: usize, bytes: usize) -> Self {
        let value = vec![b'x'; bytes];
        let names: Vec<_> = (0..count).map(|number| key(number % keys)).collect();
        Self::of(first, &names, &value)
    }

    /// Collects a record for each key, all with the same value, from the offset `first` on.
    ///
    /// # Panics
    ///
    /// If `keys` is empty.
    #[must_use]
    pub fn of(first: Offset, keys: &[String], value: &[u8]) -> Self {
        let mut builder = RecordBatchBuilder::default();
        let mut offset = first;
        for key in keys {
            builder.push(&Record {
                offset,
                timestamp_ms: 1_790_000_000_000,
                key: Some(key.as_bytes()),
                value: Some(value),
                headers: &[],
            });
            offset = offset.next();
        }
        Self(builder.build().expect("there are records"))
    }
}

/// Returns the name of a key.
pub(super) fn key(number: usize) -> String {
    format!("key-{number}")
}
