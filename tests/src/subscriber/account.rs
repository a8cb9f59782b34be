//! What a client knows of its subscriptions: which alias is which channel, and where each is.
//!
//! Plain code, in which the promises about one connection are held: an alias means one channel, and the offsets of a
//! partition only grow.

use std::collections::BTreeMap;

use bytes::Bytes;
use tailcast_proto::push::v1::{Delivery, Header, Heartbeat, Skipped, Unsubscribed, delivery, frame};
use tailcast_proto::{Offset, PartitionId, Position};

/// The subscriptions of one session, by alias.
#[derive(Debug, Default)]
pub(super) struct Account {
    channels: BTreeMap<u32, Channel>,
}

/// What the client knows of one subscription.
#[derive(Debug)]
struct Channel {
    name: String,
    position: Position,
}

/// A delivery, and which channel it came on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The channel's text form.
    pub channel: String,
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// The record's key, where the channel spans several.
    pub key: Option<Bytes>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The record's headers, where the subscription asked for them.
    pub headers: Vec<Header>,
}

impl Account {
    /// Returns where the subscription to a channel is.
    pub(super) fn position(&self, channel: &str) -> Option<&Position> {
        self.channels.values().find(|of| of.name == channel).map(|of| &of.position)
    }

    /// Keeps account of subscriptions and positions.
    pub(super) fn note(&mut self, frame: &frame::Frame) {
        match frame {
            frame::Frame::Subscribed(subscribed) => {
                let position = subscribed.position.clone().unwrap_or_default();
                let position = Position::try_from(position).expect("a node says valid positions");
                let channel = Channel { name: subscribed.name.clone(), position };
                let before = self.channels.insert(subscribed.alias, channel);
                assert!(before.is_none(), "alias {} is given twice: {before:?}", subscribed.alias);
            }
            frame::Frame::Unsubscribed(Unsubscribed { alias, .. }) => {
                self.channels.remove(alias).expect("what is unsubscribed was subscribed");
            }
            frame::Frame::Skipped(Skipped { alias, partition, next_offset, .. }) => {
                let partition = PartitionId::new(*partition);
                let next = Offset::new(*next_offset).expect("an offset is 0 or more");
                self.channel(*alias).position.offsets.insert(partition, next);
            }
            _ => {}
        }
    }

    pub(super) fn received(&mut self, delivery: Delivery) -> Received {
        let channel = self.channel(delivery.alias);
        let partition = match delivery.partition {
            Some(partition) => PartitionId::new(partition),
            None => {
                let mut only = channel.position.offsets.keys();
                let partition = *only.next().expect("a subscription has a partition");
                assert_eq!(only.next(), None, "a delivery of several partitions says which");
                partition
            }
        };
        let offset = Offset::new(delivery.offset).expect("an offset is 0 or more");
        let next = channel.position.offsets.insert(partition, offset.next());
        assert!(
            next.is_none_or(|next| next <= offset),
            "{}: offset {offset} of partition {partition} came again: {next:?} was next",
            channel.name,
        );
        Received {
            channel: channel.name.clone(),
            partition,
            offset,
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

    pub(super) fn progress(&mut self, heartbeat: &Heartbeat) {
        for progress in &heartbeat.progress {
            let partition = PartitionId::new(progress.partition);
            let next = Offset::new(progress.next_offset).expect("an offset is 0 or more");
            let behind = |alias| progress.except_aliases.contains(alias);
            for (_, channel) in self.channels.iter_mut().filter(|(alias, _)| !behind(alias)) {
                let of_topic = channel.name.split('/').next() == Some(&progress.topic);
                if let Some(at) = channel.position.offsets.get_mut(&partition).filter(|_| of_topic) {
                    *at = (*at).max(next);
                }
            }
        }
    }

    fn channel(&mut self, alias: u32) -> &mut Channel {
        self.channels
            .get_mut(&alias)
            .unwrap_or_else(|| panic!("alias {alias} was never said to be a channel"))
    }
}

impl Received {
    /// Returns the value as text; of a tombstone, `tombstone`.
    pub fn text(&self) -> &str {
        let text = self.value.as_deref().map_or(Ok("tombstone"), std::str::from_utf8);
        text.expect("scenarios publish text")
    }
}
