//! A thread that reads pages, one after the other.
//!
//! Its consumer stays where the last page ended, so that a cursor that reads on is served from what librdkafka has fetched
//! ahead already.

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

/// Reads pages.
pub(super) struct PageReader {
    consumer: BaseConsumer<Context>,
    catch_up: CatchUp,
    topics: Topics,
    /// Where the consumer stands: the partition and the offset that it delivers next.
    at: Option<(Arc<Partition>, Offset)>,
    /// The topics whose metadata the consumer has. The first assign of another one would take half a second.
    known: HashSet<TopicName>,
}

/// How the reading of a page ended.
enum ReadOutcome {
    Page(Page),
    Failed(PageError),
    /// Nobody waits any more, or the process ends.
    Abandoned,
}

impl PageReader {
    /// How long a poll waits before the reader looks whether anybody still waits.
    const POLL_TIMEOUT: Duration = Duration::from_millis(100);
    /// How long a reader waits for a partition that says nothing.
    const READ_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long a reader without a job keeps its partition, and what was fetched ahead.
    const IDLE_MAX: Duration = Duration::from_secs(1);
    /// How long Kafka is asked for metadata or bounds before the job is tried again.
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
                    // Kafka is away. Whoever waits goes on waiting, and this or another reader tries again; polling
                    // keeps the pace.
                    tracing::warn!(topic = %job.partition.topic, partition = %job.partition.id, %error, "catch-up met an error");
                    self.at = None;
                    drop(self.consumer.poll(Self::POLL_TIMEOUT));
                    self.catch_up.abandon(&job);
                }
            }
        }
        Ok(())
    }

    /// Gives out what was found if it is of the topic that the offsets belong to: librdkafka reads a topic that was recreated
    /// as if it were the old one, and its bounds say nothing of the old one's, so the id is asked for after the reading.
    fn confirm(&mut self, job: &ReadJob, found: Result<Page, PageError>) {
        // The reader's thread has nothing else to do meanwhile.
        let found = match block_on(self.topics.ask(&job.partition.topic)) {
            Ok(topic) if topic.epoch != job.partition.epoch => Err(PageError::Recreated),
            Ok(_) => found,
            // It cannot be told of which topic it is, and is read again. If the topic is gone, its subscriptions are ended
            // by who is told for sure.
            Err(LookupError::Unknown { .. } | LookupError::Unavailable { .. }) => {
                self.at = None;
                // Keeps the pace; what it may give out is read again too.
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
                // A partition that does not answer goes to the end of the line: others wait too.
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
                    if let Some(outcome) = self.failed(&error, job)? {
                        self.at = None;
                        return Ok(outcome);
                    }
                }
            }
        }
    }

    /// Asks where a partition ends that ended before what the window had, and begins to read it once more. Returns whether
    /// that makes sense: a broker that leads no more may know less than the window.
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
            tracing::warn!(%topic, partition = %id, %high, "a broker does not know the end of the log, and is asked again");
            // Keeps the pace; what it may give out is read again too.
            drop(self.consumer.poll(Self::POLL_TIMEOUT));
        }
        Ok(is_end_confirmed)
    }

    /// Asks where a partition begins and ends.
    fn watermarks(&self, job: &ReadJob) -> Result<Watermarks, KafkaError> {
        let Partition { topic, id, .. } = &*job.partition;
        let (low, high) = self.consumer.fetch_watermarks(topic.as_str(), id.kafka(), Self::TIMEOUT)?;
        Ok(Watermarks::of(low, high))
    }

    /// Polls for so long. What comes is dropped: the consumer does not stand anywhere.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            drop(self.consumer.poll(left));
        }
    }

    /// Makes the consumer deliver a partition's record at `offset` next.
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

    /// Stops fetching ahead.
    fn release_partition(&mut self) {
        if self.at.take().is_some()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::warn!(%error, "a catch-up reader keeps fetching");
        }
    }

    /// Says what an error means for a job; `None` when librdkafka goes on by itself.
    fn failed(&self, error: &KafkaError, job: &ReadJob) -> Result<Option<ReadOutcome>, KafkaError> {
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
                    // The refusal was of an earlier job, and is no answer to this one.
                    ReadOutcome::Abandoned
                }))
            }
            _ => {
                tracing::warn!(%error, "catch-up met an error");
                Ok(None)
            }
        }
    }
}

/// Takes a record if it is one of the job. Returns the page once it is complete.
fn take(
    message: &BorrowedMessage<'_>,
    headers: &mut BytesMut,
    page_builder: &mut PageBuilder,
    job: &ReadJob,
) -> Option<Page> {
    // What was fetched for an earlier assignment may still come.
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

/// Where the consumer stands after a page.
fn position_after(
    page: &Page,
    page_builder: &PageBuilder,
    job: &ReadJob,
) -> Option<(Arc<Partition>, Offset)> {
    page_builder.can_continue(page.to).then(|| (Arc::clone(&job.partition), page.to))
}
