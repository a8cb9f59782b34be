//! A record that was delivered, with the channel of its own key.

use bytes::Bytes;
use tailcast_client::{Delivery, Header};
use tailcast_proto::{Channel, Key, Keys, Offset, PartitionId};

/// A record that was delivered to a subscription.
#[derive(Debug, Clone)]
pub(super) struct Record<'a> {
    /// The subscription's channel.
    pub(super) channel: &'a Channel,
    /// Its partition.
    pub(super) partition: PartitionId,
    /// Its offset in the partition.
    pub(super) offset: Offset,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub(super) timestamp_ms: Option<i64>,
    /// Its key, if the channel has several keys and the record has one.
    pub(super) key: Option<&'a Bytes>,
    /// Its value. `None`: a tombstone.
    pub(super) value: Option<&'a Bytes>,
    /// Its headers.
    pub(super) headers: &'a [Header],
}

impl<'a> From<&'a Delivery> for Record<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self {
            channel: &delivery.channel,
            partition: delivery.partition,
            offset: delivery.offset,
            timestamp_ms: delivery.timestamp_ms,
            key: delivery.key.as_ref(),
            value: delivery.value.as_ref(),
            headers: &delivery.headers,
        }
    }
}

impl Record<'_> {
    /// Returns the channel of this record's key; the subscription's channel if the record has no
    /// key.
    pub(super) fn own_channel(&self) -> Channel {
        let exact = self.key.and_then(|key| Key::new(key.clone()).ok()).map(Keys::Exact);
        let keys = exact.unwrap_or_else(|| self.channel.keys.clone());
        Channel { topic: self.channel.topic.clone(), keys }
    }
}
