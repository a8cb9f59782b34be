//! A consumer beside the nodes: reads the same topic in the same run straight from Kafka, so that what a node adds can be told
//! from what Kafka takes.
//!
//! It counts from the same intended times to when its poll returned the record, and leaves the warm-up out as the connections
//! do. It has a thread of its own, since librdkafka's poll blocks, and is in the first process, where no connections are when
//! there are several. What it prefetches is bounded by `queued.max.messages.kbytes`; it keeps a histogram and a count.
//!
//! Invariant: it has what was acknowledged, or its figures are not told.

mod stats;

use std::{
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::{Message as _, error::KafkaError};

pub(crate) use self::stats::ConsumerStats;
use crate::{kafka::Consumer, payload::Format};

/// How long the rest of what was acknowledged may take to come when the run is over.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer that stands where the topic ended when it was opened.
pub(crate) struct BareConsumer {
    consumer: Consumer,
}

/// A consumer at work. Its thread ends with this.
pub(crate) struct Reading {
    end: Arc<OnceLock<End>>,
    thread: Option<JoinHandle<(ConsumerStats, Option<KafkaError>)>>,
}

/// When it has read enough.
#[derive(Debug, Clone, Copy)]
struct End {
    records: u64,
    deadline: Instant,
}

impl BareConsumer {
    /// Connects, and stands at the end of every partition of a topic. Blocks.
    pub(crate) fn open(kafka: &str, topic: &str) -> Result<Self> {
        let consumer = Consumer::new(kafka, "loadgen")?;
        consumer.assign_at_end(topic, None)?;
        Ok(Self { consumer })
    }

    /// Starts to read the events of a run whose schedule starts at `start`. Those that were due before `measured_from_ns` after
    /// it are counted, and not measured.
    pub(crate) fn read(self, format: Arc<Format>, start: Instant, measured_from_ns: u64) -> Result<Reading> {
        let end = Arc::new(OnceLock::new());
        let (stats, until) = (ConsumerStats::new(format, measured_from_ns), Arc::clone(&end));
        let thread = thread::Builder::new()
            .name("bare-consumer".into())
            .spawn(move || read(&self.consumer, stats, start, &until))
            .context("the bare consumer has no thread")?;
        Ok(Reading { end, thread: Some(thread) })
    }
}

impl Reading {
    /// Waits until it has so many events of the run, for a while, and returns what it saw. Blocks.
    ///
    /// # Errors
    ///
    /// When it does not get them: figures of a part would be taken for those of all.
    pub(crate) fn finish(mut self, acknowledged: u64) -> Result<ConsumerStats> {
        self.end_at(acknowledged, TIMEOUT);
        let thread = self.thread.take().context("it was waited for before")?;
        let (stats, last_error) = thread.join().map_err(|_| anyhow!("the bare consumer's thread failed"))?;
        let last = last_error.map(|error| format!("; Kafka's client said last: {error}")).unwrap_or_default();
        ensure!(
            stats.records >= acknowledged,
            "the bare consumer got {} of {acknowledged} acknowledged events{last}",
            stats.records
        );
        Ok(stats)
    }

    fn end_at(&self, records: u64, within: Duration) {
        // Whoever ended it first has said enough.
        let _ = self.end.set(End { records, deadline: Instant::now() + within });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end_at(0, Duration::ZERO);
    }
}

/// Reads until it is over. What Kafka's client complains of on the way it also mends; whether it did is told by the count.
fn read(
    consumer: &Consumer,
    mut stats: ConsumerStats,
    start: Instant,
    end: &OnceLock<End>,
) -> (ConsumerStats, Option<KafkaError>) {
    let mut last_error = None;
    let is_over =
        |stats: &ConsumerStats, end: &End| stats.records >= end.records || Instant::now() >= end.deadline;
    while !end.get().is_some_and(|end| is_over(&stats, end)) {
        match consumer.poll() {
            Some(Ok(record)) => stats.take(record.payload().unwrap_or_default(), start.elapsed()),
            Some(Err(error)) => last_error = Some(error),
            None => {}
        }
    }
    (stats, last_error)
}

#[cfg(test)]
mod tests;
