//! Subscribed channels and their logs.

use std::sync::Arc;

use tailcast_proto::{Channel, Key, Keys, TopicName, delivery::Format};

use super::records::key;
use crate::{
    log::channel_log::ChannelLog,
    partition::Partition,
    record::channel::{Encoding, NodeChannel},
    wake::doorbell::{CursorId, Ringer},
};

/// Which channels of a topic are subscribed to.
#[derive(Debug, Clone, Copy)]
pub enum Watching {
    /// One channel for each of this number of keys.
    Keys(usize),
    /// One channel that spans all keys.
    Topic,
    /// None.
    Nothing,
}

/// The encoding of all channels.
pub(crate) const ENCODING: Encoding = Encoding { format: Format::Proto, headers: false };

/// Creates the channels of a topic with this number of partitions, with their numbers.
pub(crate) fn channels(
    topic: &TopicName,
    partitions: u32,
    watching: Watching,
) -> impl Iterator<Item = Arc<NodeChannel>> {
    let keys: Vec<_> = match watching {
        Watching::Keys(count) => (0..count).map(|number| Keys::Exact(exact(number))).collect(),
        Watching::Topic => vec![Keys::All],
        Watching::Nothing => Vec::new(),
    };
    keys.into_iter().zip(1..).map(move |(keys, alias)| {
        let channel = Channel { topic: topic.clone(), keys };
        let home = channel.partition(partitions);
        Arc::new(NodeChannel { channel, alias, home })
    })
}

/// Creates the log of a channel in a partition, without a subscriber.
pub(super) fn log(partition: &Partition, channel: &Arc<NodeChannel>) -> Arc<ChannelLog> {
    let nobody = Ringer::new(Arc::default(), CursorId(0));
    let log = partition.attach(channel, ENCODING, partition.head(), &nobody);
    log.leave(&nobody);
    log
}

fn exact(number: usize) -> Key {
    Key::new(key(number)).expect("it is a key")
}
