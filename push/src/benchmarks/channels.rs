//! Channels that somebody watches, and their logs.

use std::sync::Arc;

use tailcast_proto::{Channel, Key, Keys, TopicName, delivery::Format};

use super::records::key;
use crate::{
    log::channel_log::ChannelLog,
    partition::Partition,
    record::chunk::{Encoding, NodeChannel},
    wake::doorbell::{CursorId, Ringer},
};

/// Which channels of a topic are watched.
#[derive(Debug, Clone, Copy)]
pub enum Watching {
    /// One channel for each of so many keys.
    Keys(usize),
    /// One channel of all keys.
    Topic,
    /// None.
    Nothing,
}

/// How all of them are encoded.
pub(crate) const ENCODING: Encoding = Encoding { format: Format::Proto, headers: false };

/// Makes channels of a topic with so many partitions, with the numbers that a node would give them.
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

/// Makes the log of a channel in a partition, with nobody to ring for.
pub(super) fn log(partition: &Partition, channel: &Arc<NodeChannel>) -> Arc<ChannelLog> {
    let nobody = Ringer::new(Arc::default(), CursorId(0));
    let log = partition.attach(channel, ENCODING, partition.head(), &nobody);
    log.leave(&nobody);
    log
}

fn exact(number: usize) -> Key {
    Key::new(key(number)).expect("it is a key")
}
