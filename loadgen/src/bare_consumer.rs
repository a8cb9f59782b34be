//! A Kafka consumer that reads the run's topic at the same time as the nodes, so that the latency a
//! node adds can be separated from Kafka's own.
//!
//! Latency counts from the same scheduled times to the return of poll, without the warm-up, as for
//! the connections. The consumer has its own thread because librdkafka's poll blocks. It runs in
//! the main process, which holds no connections when there are workers. Prefetching is bounded by
//! `queued.max.messages.kbytes`; only a histogram and a count are kept.
//!
//! Invariant: it received every acknowledged event, or its figures are not reported.

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

/// How long the remaining acknowledged events may take to arrive after the run.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer positioned at the end of the topic, as of when it was opened.
pub(crate) struct BareConsumer {
    consumer: Consumer,
}

/// A running consumer. Its thread ends when this is dropped.
pub(crate) struct Reading {
    end: Arc<OnceLock<End>>,
    thread: Option<JoinHandle<(ConsumerStats, Option<KafkaError>)>>,
}

/// When to stop reading.
#[derive(Debug, Clone, Copy)]
struct End {
    records: u64,
    deadline: Instant,
}

impl BareConsumer {
    /// Connects, and positions at the end of every partition of a topic. Blocks.
    pub(crate) fn open(kafka: &str, topic: &str) -> Result<Self> {
        let consumer = Consumer::new(kafka, "loadgen")?;
        consumer.assign_at_end(topic, None)?;
        Ok(Self { consumer })
    }

    /// Starts reading the events of a run whose schedule starts at `start`. Events due before
    /// `measured_from_ns` after it are counted but not measured.
    pub(crate) fn read(self, format: Arc<Format>, start: Instant, measured_from_ns: u64) -> Result<Reading> {
        let end = Arc::new(OnceLock::new());
        let (stats, until) = (ConsumerStats::new(format, measured_from_ns), Arc::clone(&end));
        let thread = thread::Builder::new()
            .name("bare-consumer".into())
            .spawn(move || read(&self.consumer, stats, start, &until))
            .context("the bare consumer's thread cannot be started")?;
        Ok(Reading { end, thread: Some(thread) })
    }
}

impl Reading {
    /// Waits, for a limited time, until it has this many events of the run, and returns what it
    /// received. Blocks. Fails when events are missing: figures of some events would pass for
    /// figures of all.
    pub(crate) fn finish(mut self, acknowledged: u64) -> Result<ConsumerStats> {
        self.end_at(acknowledged, TIMEOUT);
        let thread = self.thread.take().context("the thread was joined already")?;
        let (stats, last_error) = thread.join().map_err(|_| anyhow!("the bare consumer's thread failed"))?;
        let last = last_error.map(|error| format!("; librdkafka's last error: {error}")).unwrap_or_default();
        ensure!(
            stats.records >= acknowledged,
            "the bare consumer received {} of {acknowledged} acknowledged events{last}",
            stats.records
        );
        Ok(stats)
    }

    fn end_at(&self, records: u64, within: Duration) {
        // An earlier end takes precedence.
        let _ = self.end.set(End { records, deadline: Instant::now() + within });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end_at(0, Duration::ZERO);
    }
}

/// Reads until the end is reached. librdkafka recovers from its own errors; the number of records
/// shows whether it did.
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
