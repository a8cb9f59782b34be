//! A partition with subscribed channels, without Kafka and without sessions.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use futures_util::future::FutureExt as _;
use tailcast_proto::{Epoch, Offset, PartitionId, TopicName};

use super::{
    Records, Watching,
    channels::{channels, log},
};
use crate::{
    log::channel_log::ChannelLog,
    partition::{Partition, WindowBudget},
    wake::{
        doorbell::{CursorId, Doorbell, Ringer},
        fan_out::FanOut,
    },
};

/// A partition with subscribed channels.
#[derive(Debug)]
pub struct Watched {
    pub(crate) partition: Arc<Partition>,
    pub(crate) fan_out: Arc<FanOut>,
    logs: Vec<Arc<ChannelLog>>,
    doorbells: Vec<Arc<Doorbell>>,
}

impl Watched {
    /// Creates a partition at offset 0 with the logs of the channels, without subscribers.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn new(watching: Watching) -> Self {
        let topic = TopicName::parse("benchmark").expect("it is a name");
        let (epoch, id, budget) =
            (Epoch::from_bits(1, 2), PartitionId::new(0), WindowBudget::new(usize::MAX));
        let fan_out = FanOut::idle();
        let partition = Partition::new(topic, epoch, id, Offset::ZERO, budget, Arc::clone(&fan_out), None);
        let logs = channels(&partition.topic, 1, watching).map(|channel| log(&partition, &channel)).collect();
        Self { partition, fan_out, logs, doorbells: Vec::new() }
    }

    /// Adds `subscribers` waiting sessions to each channel.
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
            assert!(!is_rung, "no doorbell has rung");
        }
        self
    }

    /// Appends records like the feed, without the fence, and rings.
    pub fn append(&self, records: Records) {
        self.partition.append(records.0);
    }

    /// Returns the number of deliveries in the channel logs.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        let everything = |log: &Arc<ChannelLog>| {
            log.chunks(|chunks| chunks.unread(Offset::ZERO, usize::MAX)).unwrap_or_default()
        };
        self.logs.iter().flat_map(everything).map(|chunk| chunk.len()).sum()
    }

    /// Returns the number of sessions whose doorbell rang.
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
