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
    CatchUp, Job, Page, PageError,
    reading::{End, Reading},
};
use crate::{
    kafka::offsets::{Watermarks, confirmed_watermarks},
    partition::Partition,
    record::batch::Record,
};

/// Reads pages.
pub(super) struct Reader {
    consumer: BaseConsumer<Context>,
    catch_up: CatchUp,
    topics: Topics,
    /// Where the consumer stands: the partition and the offset that it delivers next.
    at: Option<(Arc<Partition>, Offset)>,
    /// The topics whose metadata the consumer has. The first assign of another one would take half a second.
    known: HashSet<TopicName>,
}

/// How the reading of a page ended.
enum Outcome {
    Page(Page),
    Failed(PageError),
    /// Nobody waits any more, or the process ends.
    Abandoned,
}

impl Reader {
    /// How long a poll waits before the reader looks whether anybody still waits.
    const POLL: Duration = Duration::from_millis(100);
    /// How long a reader waits for a partition that says nothing.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// How long a reader without a job keeps its partition, and what was fetched ahead.
    const IDLE: Duration = Duration::from_secs(1);
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
            let Some(job) = self.catch_up.next_job(Self::IDLE, lifecycle) else {
                self.stand_down();
                continue;
            };
            match self.read(&job, lifecycle) {
                Ok(Outcome::Page(page)) => self.confirm(&job, Ok(page)),
                Ok(Outcome::Failed(error)) => self.confirm(&job, Err(error)),
                Ok(Outcome::Abandoned) => self.catch_up.abandon(&job),
                Err(error) => {
                    // Kafka is away. Whoever waits goes on waiting, and this or another reader tries again; polling
                    // keeps the pace.
                    tracing::warn!(topic = %job.partition.topic, partition = %job.partition.id, %error, "catch-up met an error");
                    self.at = None;
                    drop(self.consumer.poll(Self::POLL));
                    self.catch_up.abandon(&job);
                }
            }
        }
        Ok(())
    }

    /// Gives out what was found if it is of the topic that the offsets belong to: librdkafka reads a topic that was recreated
    /// as if it were the old one, and its bounds say nothing of the old one's, so the id is asked for after the reading.
    fn confirm(&mut self, job: &Job, found: Result<Page, PageError>) {
        // The reader's thread has nothing else to do meanwhile.
        let found = match block_on(self.topics.ask(&job.partition.topic)) {
            Ok(topic) if topic.epoch != job.partition.epoch => Err(PageError::Recreated),
            Ok(_) => found,
            // It cannot be told of which topic it is, and is read again. If the topic is gone, its subscriptions are ended
            // by who is told for sure.
            Err(LookupError::Unknown { .. } | LookupError::Unavailable { .. }) => {
                self.at = None;
                // Keeps the pace; what it may give out is read again too.
                drop(self.consumer.poll(Self::POLL));
                self.catch_up.abandon(job);
                return;
            }
        };
        match found {
            Ok(page) => self.catch_up.finish(job, page),
            Err(error) => self.catch_up.fail(job, error),
        }
    }

    fn read(&mut self, job: &Job, lifecycle: &Lifecycle) -> Result<Outcome, KafkaError> {
        self.stand_at(&job.partition, job.from)?;
        let mut reading = Reading::new(job.from, job.until, job.partition.tail());
        let mut headers = BytesMut::new();
        let give_up_at = Instant::now() + Self::PATIENCE;
        loop {
            match self.consumer.poll(Self::POLL) {
                // A partition that does not answer goes to the end of the line: others wait too.
                None if lifecycle.is_closing()
                    || !self.catch_up.is_wanted(job)
                    || Instant::now() >= give_up_at =>
                {
                    self.at = None;
                    return Ok(Outcome::Abandoned);
                }
                None => {}
                Some(Ok(message)) => {
                    if let Some(page) = take(&message, &mut headers, &mut reading, job) {
                        self.at = stand(&page, &reading, job);
                        return Ok(Outcome::Page(page));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(id))) if id == job.partition.id.kafka() => {
                    match reading.at_end() {
                        End::Page(page) => {
                            self.at = stand(&page, &reading, job);
                            return Ok(Outcome::Page(page));
                        }
                        End::Empty => {}
                        End::Doubtful if self.is_proven(&mut reading, job)? => {}
                        End::Doubtful => return Ok(Outcome::Abandoned),
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
    fn is_proven(&mut self, reading: &mut Reading, job: &Job) -> Result<bool, KafkaError> {
        let high = self.watermarks(job)?.high;
        let is_proven = reading.prove(high);
        self.at = None;
        if is_proven {
            self.stand_at(&job.partition, job.from)?;
        } else {
            let Partition { topic, id, .. } = &*job.partition;
            tracing::warn!(%topic, partition = %id, %high, "a broker does not know the end of the log, and is asked again");
            // Keeps the pace; what it may give out is read again too.
            drop(self.consumer.poll(Self::POLL));
        }
        Ok(is_proven)
    }

    /// Asks where a partition begins and ends.
    fn watermarks(&self, job: &Job) -> Result<Watermarks, KafkaError> {
        let Partition { topic, id, .. } = &*job.partition;
        let (low, high) = self.consumer.fetch_watermarks(topic.as_str(), id.kafka(), Self::TIMEOUT)?;
        Ok(Watermarks::of(low, high))
    }

    /// Polls for so long. What comes is dropped: the consumer does not stand anywhere.
    fn pass(&self, time: Duration) {
        let until = Instant::now() + time;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            drop(self.consumer.poll(left));
        }
    }

    /// Makes the consumer deliver a partition's record at `offset` next.
    fn stand_at(&mut self, partition: &Arc<Partition>, offset: Offset) -> Result<(), KafkaError> {
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
    fn stand_down(&mut self) {
        if self.at.take().is_some()
            && let Err(error) = self.consumer.unassign()
        {
            tracing::warn!(%error, "a catch-up reader keeps fetching");
        }
    }

    /// Says what an error means for a job; `None` when librdkafka goes on by itself.
    fn failed(&self, error: &KafkaError, job: &Job) -> Result<Option<Outcome>, KafkaError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let pass = |doubt| {
                    self.pass(doubt);
                    ready(())
                };
                let watermarks =
                    block_on(confirmed_watermarks(job.from, || ready(self.watermarks(job)), pass))?;
                Ok(Some(if job.from < watermarks.low {
                    Outcome::Failed(PageError::Expired { low: watermarks.low })
                } else if job.from > watermarks.high {
                    Outcome::Failed(PageError::Truncated)
                } else {
                    // The refusal was of an earlier job, and is no answer to this one.
                    Outcome::Abandoned
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
    reading: &mut Reading,
    job: &Job,
) -> Option<Page> {
    // What was fetched for an earlier assignment may still come.
    let partition = &job.partition;
    let own = message.partition() == partition.id.kafka() && message.topic() == partition.topic.as_str();
    let offset = Offset::new(message.offset()).filter(|_| own)?;
    headers.clear();
    for header in record_headers(message) {
        encode_header(&header.name, header.value, headers);
    }
    reading.take(&Record {
        offset,
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key(),
        value: message.payload(),
        headers,
    })
}

/// Where the consumer stands after a page.
fn stand(page: &Page, reading: &Reading, job: &Job) -> Option<(Arc<Partition>, Offset)> {
    reading.may_go_on(page.to).then(|| (Arc::clone(&job.partition), page.to))
}
