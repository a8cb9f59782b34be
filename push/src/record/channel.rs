//! A channel with its number on this node, and the encodings that its subscribers can choose.

use bytes::BytesMut;
use tailcast_proto::{
    Channel, PartitionId,
    delivery::{Delivery, Format},
};

use crate::record::{batch::Record, key_hash::KeyHash};

/// A channel, with its number on this node.
#[derive(Debug)]
pub(crate) struct NodeChannel {
    pub(crate) channel: Channel,
    /// The number that identifies the channel to all its subscribers on this node.
    pub(crate) alias: u32,
    /// For a channel of one key, the partition of that key. Deliveries from it omit the partition.
    pub(crate) home: Option<PartitionId>,
}

/// How deliveries are encoded: one of the variants that subscribers of a channel can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) format: Format,
    /// Whether deliveries carry the records' headers.
    pub(crate) headers: bool,
}

impl Encoding {
    /// Number of encodings.
    pub(crate) const COUNT: usize = 4;

    /// Returns a number below [`Encoding::COUNT`].
    pub(crate) fn number(self) -> usize {
        usize::from(self.format == Format::Json) * 2 + usize::from(self.headers)
    }
}

impl NodeChannel {
    /// Encodes a record for the subscribers of this channel.
    pub(crate) fn encode(
        &self,
        record: &Record<'_>,
        partition: PartitionId,
        encoding: Encoding,
        out: &mut BytesMut,
    ) {
        let spans = self.channel.spans_keys();
        let delivery = Delivery {
            alias: self.alias,
            partition: (self.home != Some(partition)).then_some(partition),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.filter(|_| spans),
            value: record.value,
            headers: if encoding.headers { record.headers } else { &[] },
        };
        delivery.encode(encoding.format, out);
    }

    /// Returns the hash that distinguishes the record's key from other keys of this channel.
    pub(crate) fn key_hash(&self, record: &Record<'_>) -> KeyHash {
        if self.channel.spans_keys() { KeyHash::of(record.key) } else { KeyHash::ONLY }
    }
}
