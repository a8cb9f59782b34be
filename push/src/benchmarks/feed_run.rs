//! The feed by itself: from Kafka into windows and the logs of channels, with no session to ring for.
//!
//! A node begins at Kafka's end; here it begins where it is told, so that there is a backlog to read. The fence is in the way as
//! in a node. What it asks of Kafka is answered at once: a topic that was made for this stays what it is.

use std::{
    cell::Cell,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use tailcast_proto::{Epoch, Offset, PartitionId, TopicName};
use tailcast_services::kafka::{PropertyError, Settings};

use super::{
    Watching,
    channels::{channels, log},
    defaults,
};
use crate::{
    kafka::{
        feed::{Feed, FeedSignals},
        tail::Tail,
    },
    metrics::FeedMetrics,
    partition::{Partition, WindowBudget, fence::Needs},
    wake::fan_out::FanOut,
};

/// How long no record may come.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// A node's feed with something to read.
pub struct FeedRun {
    tail: Arc<Tail>,
    budget: Arc<WindowBudget>,
    partitions: Vec<Backlog>,
}

/// A partition and where its backlog ends.
#[derive(Debug)]
struct Backlog {
    partition: Arc<Partition>,
    end: Offset,
}

/// No record came for as long as Kafka may take.
#[derive(Debug, thiserror::Error)]
#[error("{left} records did not come")]
struct Stuck {
    left: u64,
}

/// Returns the configuration of a node's tail consumer.
///
/// # Errors
///
/// When `kafka` is none that can be used.
pub fn tail_config(kafka: &str) -> Result<ClientConfig, PropertyError> {
    Settings::at(kafka).tail()
}

impl std::fmt::Debug for FeedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl FeedRun {
    /// Prepares to read a topic whose partitions, from the first on, have what is in `backlog`: from an offset up to another.
    /// Blocks while Kafka answers.
    ///
    /// # Errors
    ///
    /// When Kafka does not.
    pub fn new(
        kafka: &str,
        topic: &TopicName,
        backlog: &[(Offset, Offset)],
        watching: Watching,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let tail = Tail::new(&tail_config(kafka)?)?;
        let budget = WindowBudget::new(defaults().windows.bytes_max);
        let mut partitions = Vec::new();
        for ((first, end), number) in backlog.iter().zip(0..) {
            let (id, epoch) = (PartitionId::new(number), Epoch::from_bits(1, 2));
            tail.load_metadata(topic, id)?;
            let partition =
                Partition::new(topic.clone(), epoch, id, *first, Arc::clone(&budget), FanOut::idle(), None);
            partitions.push(Backlog { partition, end: *end });
        }
        let count = u32::try_from(partitions.len())?;
        for channel in channels(topic, count, watching) {
            let is_in = |backlog: &&Backlog| channel.home.is_none_or(|home| home == backlog.partition.id);
            partitions.iter().filter(is_in).for_each(|backlog| drop(log(&backlog.partition, &channel)));
        }
        Ok(Self { tail, budget, partitions })
    }

    /// Reads everything.
    ///
    /// # Errors
    ///
    /// When a record does not come.
    pub fn run(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (signals, has_ended) = (FeedSignals::default(), AtomicBool::new(false));
        let metrics = FeedMetrics::register(&mut Registry::default());
        let feed = Feed::new(Arc::clone(&self.tail), Arc::clone(&self.budget), signals.clone(), metrics);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !has_ended.load(Ordering::Acquire) {
                    self.answer(&signals);
                }
            });
            let read = self.assign().and_then(|()| {
                let progress = Cell::new((u64::MAX, Instant::now()));
                feed.run(|| self.has_ended(&progress)).map_err(Into::into)
            });
            has_ended.store(true, Ordering::Release);
            signals.held.notify_one();
            read
        })?;
        match self.left() {
            0 => Ok(()),
            left => Err(Stuck { left }.into()),
        }
    }

    fn assign(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        for Backlog { partition, .. } in &self.partitions {
            // As if it had been tailed until now: the first records are not after a silence.
            partition.confirmation_result(Instant::now(), Some(true));
            self.tail.assign(partition)?;
        }
        Ok(())
    }

    /// Waits until something is held, or soon will be, and answers that the topic is the same.
    fn answer(&self, signals: &FeedSignals) {
        block_on(signals.held.notified());
        for Backlog { partition, .. } in &self.partitions {
            if !partition.begin_confirmation() {
                continue;
            }
            match partition.confirmation_result(Instant::now(), Some(true)) {
                Needs::Nothing => {}
                Needs::Confirmation => signals.held.notify_one(),
                Needs::Reread => self.tail.request_reread(partition),
            }
        }
    }

    /// Whether everything is read, or nothing comes any more.
    fn has_ended(&self, progress: &Cell<(u64, Instant)>) -> bool {
        let (left, now) = (self.left(), Instant::now());
        let (before, since) = progress.get();
        if left < before {
            progress.set((left, now));
        }
        left == 0 || (left == before && now.duration_since(since) >= RECORD_TIMEOUT)
    }

    fn left(&self) -> u64 {
        self.partitions.iter().map(|backlog| backlog.end.since(backlog.partition.head())).sum()
    }
}
