//! A delivery in the form that scenarios use.

use bytes::Bytes;
use tailcast_proto::push::v1::{Delivery, Header, delivery};
use tailcast_proto::{Offset, PartitionId};

/// A delivery and its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The channel's text form.
    pub channel: String,
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// The record's key, if the channel has several.
    pub key: Option<Bytes>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The record's headers, if the subscription requested them.
    pub headers: Vec<Header>,
}

impl Received {
    pub(super) fn new(channel: String, partition: PartitionId, delivery: Delivery) -> Self {
        Self {
            channel,
            partition,
            offset: Offset::new(delivery.offset).expect("an offset is 0 or more"),
            key: delivery.key_form.map(|form| match form {
                delivery::KeyForm::Key(key) => key,
                delivery::KeyForm::KeyText(text) => text.into(),
            }),
            value: delivery.value_form.map(|form| match form {
                delivery::ValueForm::Value(value) => value,
                delivery::ValueForm::Text(text) => text.into(),
            }),
            headers: delivery.headers,
        }
    }

    /// Returns the value as text; `tombstone` for a tombstone.
    pub fn text(&self) -> &str {
        let text = self.value.as_deref().map_or(Ok("tombstone"), std::str::from_utf8);
        text.expect("scenarios publish text")
    }
}
