//! A partition that is watched, without Kafka and without sessions.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use futures_util::future::FutureExt as _;
use tailcast_proto::{Channel, Epoch, Key, Keys, Offset, PartitionId, TopicName, delivery::Format};

use super::{Records, records};
use crate::{
    channel_log::{ChannelLog, Encoding, NodeChannel},
    doorbell::{CursorId, Doorbell, Ringer},
    fan_out::FanOut,
    partition::{Budget, Partition},
};

/// A partition that is watched.
#[derive(Debug)]
pub struct Watched {
    pub(crate) partition: Arc<Partition>,
    pub(crate) fan_out: Arc<FanOut>,
    logs: Vec<Arc<ChannelLog>>,
    doorbells: Vec<Arc<Doorbell>>,
}

/// Which channels of a partition are watched.
#[derive(Debug, Clone, Copy)]
pub enum Watching {
    /// One channel for each of so many keys.
    Keys(usize),
    /// One channel of all keys.
    Topic,
}

impl Watched {
    /// Makes a partition, at its first record, with the channels' logs and nobody to ring for.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn new(watching: Watching) -> Self {
        let topic = TopicName::parse("benchmark").expect("it is a name");
        let (epoch, id, budget) = (Epoch::from_bits(1, 2), PartitionId::new(0), Budget::new(usize::MAX));
        let fan_out = FanOut::idle();
        let partition = Partition::new(topic, epoch, id, Offset::ZERO, budget, Arc::clone(&fan_out), None);
        let encoding = Encoding { format: Format::Proto, headers: false };
        let logs = channels(&partition, watching)
            .map(|channel| {
                let nobody = Ringer::new(Arc::default(), CursorId(0));
                let log = partition.attach(&channel, encoding, Offset::ZERO, &nobody);
                log.leave(&nobody);
                log
            })
            .collect();
        Self { partition, fan_out, logs, doorbells: Vec::new() }
    }

    /// Lets `subscribers` sessions wait for something new in each channel.
    #[must_use]
    pub fn with_subscribers(mut self, subscribers: usize) -> Self {
        for log in &self.logs {
            for _ in 0..subscribers {
                let doorbell = Arc::new(Doorbell::default());
                log.join(Ringer::new(Arc::clone(&doorbell), CursorId(0)));
                self.doorbells.push(doorbell);
            }
        }
        let mut context = Context::from_waker(Waker::noop());
        for doorbell in &self.doorbells {
            let is_rung = Box::pin(doorbell.rung()).poll_unpin(&mut context).is_ready();
            assert!(!is_rung, "nobody has rung");
        }
        self
    }

    /// Appends records as the feed does once the fence trusts them, and rings.
    pub fn append(&self, records: Records) {
        self.partition.append(records.0);
    }

    /// How many deliveries the channels have.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        let everything = |log: &Arc<ChannelLog>| {
            log.chunks(|chunks| chunks.unread(Offset::ZERO, usize::MAX)).unwrap_or_default()
        };
        self.logs.iter().flat_map(everything).map(|chunk| chunk.len()).sum()
    }

    /// How many of those who wait have news.
    #[must_use]
    pub fn rung(&self) -> usize {
        let has_news = |doorbell: &&Arc<Doorbell>| {
            let mut news = Vec::new();
            doorbell.take_news(&mut news, |_| None);
            !news.is_empty()
        };
        self.doorbells.iter().filter(has_news).count()
    }
}

/// Makes channels with the numbers that a node would give them.
pub(crate) fn channels(partition: &Partition, watching: Watching) -> impl Iterator<Item = Arc<NodeChannel>> {
    let (topic, id) = (partition.topic.clone(), partition.id);
    let (count, keys): (_, Box<dyn Fn(usize) -> Keys>) = match watching {
        Watching::Keys(count) => (count, Box::new(|number| Keys::Exact(exact(number)))),
        Watching::Topic => (1, Box::new(|_| Keys::All)),
    };
    (0..count).zip(1..).map(move |(number, alias)| {
        let channel = Channel { topic: topic.clone(), keys: keys(number) };
        let home = matches!(channel.keys, Keys::Exact(_)).then_some(id);
        Arc::new(NodeChannel { channel, alias, home })
    })
}

fn exact(number: usize) -> Key {
    Key::new(records::key(number)).expect("it is a key")
}
