//! The records in Kafka, with which a scenario compares deliveries.

use std::collections::BTreeMap;

use bytes::Bytes;
use tailcast_proto::{Channel, Keys, Offset, PartitionId};

/// A record in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Returns the newest record of each key, by partition.
pub fn newest<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> BTreeMap<(PartitionId, Option<Bytes>), Offset> {
    let mut newest = BTreeMap::new();
    for record in records {
        let at = newest.entry((record.partition, record.key.clone())).or_insert(record.offset);
        *at = record.offset.max(*at);
    }
    newest
}

/// Returns the records of a channel in text form.
///
/// # Panics
///
/// When the channel is invalid.
pub fn of_channel(channel: &str, records: &[Record]) -> Vec<Record> {
    let channel: Channel = channel.parse().expect("a scenario's channels are valid");
    let shows = |record: &&Record| match (&channel.keys, record.key.as_deref()) {
        (Keys::All, _) => true,
        (Keys::Exact(of), Some(key)) => of.as_bytes() == key,
        (Keys::Prefix(prefix), Some(key)) => key.starts_with(prefix.as_bytes()),
        (_, None) => false,
    };
    records.iter().filter(shows).cloned().collect()
}
