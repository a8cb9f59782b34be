//! The feed alone: from Kafka into windows and channel logs, without sessions.
//!
//! A node starts at Kafka's end; this starts at a given offset, so that there is a backlog. The
//! fence works as in a node, but its confirmations succeed at once, because the benchmark's topic
//! is never recreated.

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

/// Maximum time without a record.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// A node's feed with a backlog to read.
pub struct FeedRun {
    tail: Arc<Tail>,
    budget: Arc<WindowBudget>,
    partitions: Vec<PartitionBacklog>,
}

/// A partition and the end of its backlog.
#[derive(Debug)]
struct PartitionBacklog {
    partition: Arc<Partition>,
    end: Offset,
}

/// No record arrived within [`RECORD_TIMEOUT`].
#[derive(Debug, thiserror::Error)]
#[error("{left} records did not arrive")]
struct Stuck {
    left: u64,
}

/// Returns the configuration of a node's tail consumer.
///
/// # Errors
///
/// If `kafka` is not a valid address list.
pub fn tail_config(kafka: &str) -> Result<ClientConfig, PropertyError> {
    Settings::at(kafka).tail()
}

impl std::fmt::Debug for FeedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl FeedRun {
    /// Prepares to read a topic. `backlog` has the first offset and the end for each partition,
    /// from partition 0 on. Blocks until Kafka answers.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer.
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
            partitions.push(PartitionBacklog { partition, end: *end });
        }
        let count = u32::try_from(partitions.len())?;
        for channel in channels(topic, count, watching) {
            let is_in =
                |backlog: &&PartitionBacklog| channel.home.is_none_or(|home| home == backlog.partition.id);
            partitions.iter().filter(is_in).for_each(|backlog| drop(log(&backlog.partition, &channel)));
        }
        Ok(Self { tail, budget, partitions })
    }

    /// Reads the whole backlog.
    ///
    /// # Errors
    ///
    /// If records do not arrive.
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
        for PartitionBacklog { partition, .. } in &self.partitions {
            // As if it had been tailed until now, so that the first records do not follow a
            // silence.
            partition.confirmation_result(Instant::now(), Some(true));
            self.tail.assign(partition)?;
        }
        Ok(())
    }

    /// Waits until a partition needs a confirmation, and confirms it.
    fn answer(&self, signals: &FeedSignals) {
        block_on(signals.held.notified());
        for PartitionBacklog { partition, .. } in &self.partitions {
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

    /// Whether everything was read, or no record arrives any more.
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
