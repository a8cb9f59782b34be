//! A thread that reads pages, one at a time.
//!
//! Its consumer stays where the last page ended, so the next page of the same cursor is served from
//! what librdkafka has already fetched.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_executor::block_on;
use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message as _},
};
use tailcast_proto::{Offset, TopicName, delivery::encode_header};
use tailcast_record_headers::record_headers;
use tailcast_services::{
    kafka::Context,
    lifecycle::Lifecycle,
    topics::{LookupError, Topics},
};

use super::{
    CatchUp, Page, PageError, ReadJob,
    page_builder::{EndOfPartition, PageBuilder},
};
use crate::{
    kafka::offsets::{Watermarks, confirmed_watermarks},
    partition::Partition,
    record::batch::Record,
};

/// Reads pages on a thread of its own.
pub(super) struct PageReader {
    consumer: BaseConsumer<Context>,
    catch_up: CatchUp,
    topics: Topics,
    /// The position of the consumer: the partition, and the offset of the next record it will
    /// return.
    at: Option<(Arc<Partition>, Offset)>,
    /// The topics whose metadata the consumer has loaded. Without it, the first record of a topic
    /// takes half a second.
    known: HashSet<TopicName>,
}

/// The result of reading a page.
enum ReadOutcome {
    Page(Page),
    Failed(PageError),
    /// No request is waiting any more, or the process closes.
    Abandoned,
}

impl PageReader {
    /// How long a poll waits before the reader checks whether the page is still wanted.
    const POLL_TIMEOUT: Duration = Duration::from_millis(100);
    /// How long a reader waits for a partition that returns nothing.
    const READ_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long an idle reader keeps its assignment, which fetches ahead.
    const IDLE_MAX: Duration = Duration::from_secs(1);
    /// Timeout for metadata and watermarks. Then the job is tried again.
    const TIMEOUT: Duration = Duration::from_secs(5);

    pub(super) fn new(config: &ClientConfig, catch_up: CatchUp, topics: Topics) -> Result<Self, KafkaError> {
        let consumer = config.create_with_context(Context::on_demand("catch-up"))?;
        Ok(Self { consumer, catch_up, topics, at: None, known: HashSet::new() })
    }

    /// Reads until the process closes.
    pub(super) fn run(mut self, lifecycle: &Lifecycle) -> Result<(), Infallible> {
        while !lifecycle.is_closing() {
            self.catch_up.wait_for_rate(lifecycle);
            let Some(job) = self.catch_up.next_job(Self::IDLE_MAX, lifecycle) else {
                self.release_partition();
                continue;
            };
            match self.read(&job, lifecycle) {
                Ok(ReadOutcome::Page(page)) => self.confirm(&job, Ok(page)),
                Ok(ReadOutcome::Failed(error)) => self.confirm(&job, Err(error)),
                Ok(ReadOutcome::Abandoned) => self.catch_up.abandon(&job),
                Err(error) => {
                    // Kafka is unreachable. The requests keep waiting, and a reader tries again.
                    // The poll limits the retry rate.
                    tracing::warn!(topic = %job.partition.topic, partition = %job.partition.id, %error, "catch-up read failed; retrying");
                    self.at = None;
                    drop(self.consumer.poll(Self::POLL_TIMEOUT));
                    self.catch_up.abandon(&job);
                }
            }
        }
        Ok(())
    }

    /// Returns a page or an error to the callers, if the topic still has the same id. librdkafka
    /// reads a recreated topic as if it were the old one, and its watermarks are those of the new
    /// one, so the id is queried after the read.
    fn confirm(&mut self, job: &ReadJob, found: Result<Page, PageError>) {
        // Blocking is fine: the thread has no other work.
        let found = match block_on(self.topics.ask(&job.partition.topic)) {
            Ok(topic) if topic.epoch != job.partition.epoch => Err(PageError::Recreated),
            Ok(_) => found,
            // The topic id is unknown, so the page is read again. If the topic is gone,
            // `upkeep::follow` ends its subscriptions.
            Err(LookupError::Unknown { .. } | LookupError::Unavailable { .. }) => {
                self.at = None;
                // Limits the retry rate. Records returned here are read again.
                drop(self.consumer.poll(Self::POLL_TIMEOUT));
                self.catch_up.abandon(job);
                return;
            }
        };
        match found {
            Ok(page) => self.catch_up.finish(job, page),
            Err(error) => self.catch_up.fail(job, error),
        }
    }

    fn read(&mut self, job: &ReadJob, lifecycle: &Lifecycle) -> Result<ReadOutcome, KafkaError> {
        self.position_at(&job.partition, job.from)?;
        let mut page_builder = PageBuilder::new(job.from, job.until, job.partition.tail());
        let mut headers = BytesMut::new();
        let deadline = Instant::now() + Self::READ_TIMEOUT;
        loop {
            match self.consumer.poll(Self::POLL_TIMEOUT) {
                // A partition that does not answer is queued again behind the others.
                None if lifecycle.is_closing()
                    || !self.catch_up.is_wanted(job)
                    || Instant::now() >= deadline =>
                {
                    self.at = None;
                    return Ok(ReadOutcome::Abandoned);
                }
                None => {}
                Some(Ok(message)) => {
                    if let Some(page) = take(&message, &mut headers, &mut page_builder, job) {
                        self.at = position_after(&page, &page_builder, job);
                        return Ok(ReadOutcome::Page(page));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(id))) if id == job.partition.id.kafka() => {
                    match page_builder.at_end() {
                        EndOfPartition::Page(page) => {
                            self.at = position_after(&page, &page_builder, job);
                            return Ok(ReadOutcome::Page(page));
                        }
                        EndOfPartition::Empty => {}
                        EndOfPartition::Unconfirmed if self.is_end_confirmed(&mut page_builder, job)? => {}
                        EndOfPartition::Unconfirmed => return Ok(ReadOutcome::Abandoned),
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    if let Some(outcome) = self.classify_error(&error, job)? {
                        self.at = None;
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    /// Queries the end of a partition that ended before the window's tail, and starts to read it
    /// again. Returns false if the broker's end is outdated too.
    fn is_end_confirmed(
        &mut self,
        page_builder: &mut PageBuilder,
        job: &ReadJob,
    ) -> Result<bool, KafkaError> {
        let high = self.watermarks(job)?.high;
        let is_end_confirmed = page_builder.confirm_end(high);
        self.at = None;
        if is_end_confirmed {
            self.position_at(&job.partition, job.from)?;
        } else {
            let Partition { topic, id, .. } = &*job.partition;
            tracing::warn!(%topic, partition = %id, %high, "a broker reported an outdated end of the log; retrying");
            // Limits the retry rate. Records returned here are read again.
            drop(self.consumer.poll(Self::POLL_TIMEOUT));
        }
        Ok(is_end_confirmed)
    }

    /// Queries the watermarks of a partition.
    fn watermarks(&self, job: &ReadJob) -> Result<Watermarks, KafkaError> {
        let Partition { topic, id, .. } = &*job.partition;
        let (low, high) = self.consumer.fetch_watermarks(topic.as_str(), id.kafka(), Self::TIMEOUT)?;
        Ok(Watermarks::of(low, high))
    }

    /// Polls for a while. Records returned here are dropped, because the consumer has no position.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            drop(self.consumer.poll(left));
        }
    }

    /// Makes `offset` the next record that the consumer returns.
    fn position_at(&mut self, partition: &Arc<Partition>, offset: Offset) -> Result<(), KafkaError> {
        if self.at.as_ref().is_some_and(|(at, next)| Arc::ptr_eq(at, partition) && *next == offset) {
            return Ok(());
        }
        let topic = &partition.topic;
        if !self.known.contains(topic) {
            self.consumer.fetch_metadata(Some(topic.as_str()), Self::TIMEOUT)?;
            self.known.insert(topic.clone());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic.as_str(), partition.id.kafka(), KafkaOffset::Offset(offset.get()))?;
        self.consumer.assign(&list)
    }

    /// Unassigns the partition, which stops fetching ahead.
    fn release_partition(&mut self) {
        if self.at.take().is_some()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::warn!(%error, "cannot unassign the partition of an idle catch-up reader");
        }
    }

    /// Returns what an error means for a job; `None` if librdkafka recovers by itself.
    fn classify_error(&self, error: &KafkaError, job: &ReadJob) -> Result<Option<ReadOutcome>, KafkaError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let pass = |doubt| {
                    self.pause(doubt);
                    ready(())
                };
                let watermarks =
                    block_on(confirmed_watermarks(job.from, || ready(self.watermarks(job)), pass))?;
                Ok(Some(if job.from < watermarks.low {
                    ReadOutcome::Failed(PageError::Expired { low: watermarks.low })
                } else if job.from > watermarks.high {
                    ReadOutcome::Failed(PageError::Truncated)
                } else {
                    // The error belongs to an earlier job.
                    ReadOutcome::Abandoned
                }))
            }
            _ => {
                tracing::warn!(%error, "Kafka error during catch-up");
                Ok(None)
            }
        }
    }
}

/// Adds a record of the job's partition to the page. Returns the page once it is complete.
fn take(
    message: &BorrowedMessage<'_>,
    headers: &mut BytesMut,
    page_builder: &mut PageBuilder,
    job: &ReadJob,
) -> Option<Page> {
    // Records fetched for an earlier assignment may still arrive.
    let partition = &job.partition;
    let own = message.partition() == partition.id.kafka() && message.topic() == partition.topic.as_str();
    let offset = Offset::new(message.offset()).filter(|_| own)?;
    headers.clear();
    for header in record_headers(message) {
        encode_header(&header.name, header.value, headers);
    }
    page_builder.take(&Record {
        offset,
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key(),
        value: message.payload(),
        headers,
    })
}

/// Returns the consumer's position after a page.
fn position_after(
    page: &Page,
    page_builder: &PageBuilder,
    job: &ReadJob,
) -> Option<(Arc<Partition>, Offset)> {
    page_builder.can_continue(page.to).then(|| (Arc::clone(&job.partition), page.to))
}
