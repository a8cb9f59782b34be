//! The loop that reads the tail of Kafka and appends it to the windows.
//!
//! It runs on a thread of its own: librdkafka's poll blocks, and the stream API of rdkafka can lose wake-ups. It never
//! waits for a session, never asks Kafka a question, and is never sought backwards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message as _},
};
use tailcast_proto::{Offset, delivery::encode_header};
use tailcast_record_headers::record_headers;
use tokio::sync::Notify;

use crate::{
    kafka::tail::Tail,
    metrics::FeedMetrics,
    partition::{AppendOutcome, Partition, WindowBudget},
    record::batch::{Record, RecordBatch, RecordBatchBuilder},
};

/// The loop that reads the tail of Kafka.
pub(crate) struct Feed {
    tail: Arc<Tail>,
    budget: Arc<WindowBudget>,
    signals: FeedSignals,
    metrics: FeedMetrics,
    /// The partitions of the records at hand, with what was read of each.
    open: Vec<(Arc<Partition>, RecordBatchBuilder)>,
    /// Builders that are empty, with memory that was warm a moment ago.
    spare: Vec<RecordBatchBuilder>,
    /// How often partitions had been assigned or released when `open` was last checked.
    seen_changes: u64,
    headers: BytesMut,
    /// When everything that had been fetched until then was last known to be taken.
    drained_at: Instant,
}

/// What the feed leaves to others: it never asks Kafka a question.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedSignals {
    /// Kafka refused an offset; the hub finds out whose.
    pub(crate) rejected: Arc<Notify>,
    /// Records are held until Kafka confirms that their topic is still the same.
    pub(crate) held: Arc<Notify>,
}

/// Why the feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// librdkafka says that this consumer is beyond repair.
    #[error("the tail consumer failed for good: {0}")]
    Fatal(KafkaError),
}

impl Feed {
    /// How long a poll waits for a record before the loop looks whether it should end.
    const POLL_TIMEOUT: Duration = Duration::from_millis(100);
    /// A poll that took so long has waited: there was nothing to be taken.
    const WAIT_MIN: Duration = Duration::from_millis(1);
    /// How many records are read before those at hand are appended, so that a backlog does not wait to be complete.
    const ROUND_RECORDS_MAX: usize = 2_000;
    /// How many builders are kept for the next round. One has up to half a megabyte, and a round has rarely more of those.
    const SPARE_BUILDERS_MAX: usize = 8;

    pub(crate) fn new(
        tail: Arc<Tail>,
        budget: Arc<WindowBudget>,
        signals: FeedSignals,
        metrics: FeedMetrics,
    ) -> Self {
        Self {
            tail,
            budget,
            signals,
            metrics,
            open: Vec::new(),
            spare: Vec::new(),
            seen_changes: 0,
            headers: BytesMut::new(),
            drained_at: Instant::now(),
        }
    }

    /// Reads until `stopped`.
    ///
    /// # Errors
    ///
    /// When the consumer is beyond repair. Anything else is Kafka's to mend, and librdkafka goes on trying.
    pub(crate) fn run(mut self, stopped: impl Fn() -> bool) -> Result<(), FeedError> {
        let tail = Arc::clone(&self.tail);
        while !stopped() {
            // Nothing is in hand here.
            tail.apply_rereads();
            let began = Instant::now();
            let mut polled = tail.consumer().poll(Self::POLL_TIMEOUT);
            if began.elapsed() >= Self::WAIT_MIN {
                self.drained_at = Instant::now();
            }
            let (mut round, mut is_drained) = (0, true);
            while let Some(result) = polled {
                match result {
                    Ok(message) => self.take(&message),
                    Err(error) => self.failed(error)?,
                }
                round += 1;
                if round >= Self::ROUND_RECORDS_MAX {
                    is_drained = false;
                    break;
                }
                polled = tail.consumer().poll(Duration::ZERO);
            }
            let drained_at = Instant::now();
            self.append();
            if is_drained {
                self.drained_at = drained_at;
            }
            self.shed();
        }
        Ok(())
    }

    /// Notes a record for its partition.
    fn take(&mut self, message: &BorrowedMessage<'_>) {
        self.headers.clear();
        for header in record_headers(message) {
            encode_header(&header.name, header.value, &mut self.headers);
        }
        let Some(offset) = Offset::new(message.offset()) else { return };
        let Some(at) = self.open_for(message) else { return };
        let (partition, builder) = &mut self.open[at];
        if offset < partition.head() {
            return;
        }
        builder.push(&Record {
            offset,
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            value: message.payload(),
            headers: &self.headers,
        });
        if builder.is_full() {
            let (partition, batch) = (Arc::clone(partition), builder.build());
            batch.into_iter().for_each(|batch| self.append_one(&partition, batch));
        }
    }

    /// Returns where records of the message's partition are collected; `None` when it was released meanwhile.
    fn open_for(&mut self, message: &BorrowedMessage<'_>) -> Option<usize> {
        self.append_released();
        let (topic, id) = (message.topic(), message.partition());
        let is_it = |(partition, _): &(Arc<Partition>, _)| {
            partition.id.kafka() == id && partition.topic.as_str() == topic
        };
        // Records come from one partition after the other, so the last one is nearly always it.
        if let Some(at) = self.open.iter().rposition(is_it) {
            return Some(at);
        }
        let partition = self.tail.assignment().find(topic, id)?;
        self.open.push((partition, self.spare.pop().unwrap_or_default()));
        Some(self.open.len() - 1)
    }

    /// Appends what is at hand of partitions that were released since: another one may have their name now, and its records
    /// are not theirs.
    fn append_released(&mut self) {
        let changes = self.tail.assignment().changes();
        if std::mem::replace(&mut self.seen_changes, changes) == changes {
            return;
        }
        for (partition, mut builder) in std::mem::take(&mut self.open) {
            let assigned = self.tail.assignment().find(partition.topic.as_str(), partition.id.kafka());
            if assigned.is_some_and(|assigned| Arc::ptr_eq(&assigned, &partition)) {
                self.open.push((partition, builder));
            } else {
                builder.build().into_iter().for_each(|batch| self.append_one(&partition, batch));
            }
        }
    }

    /// Appends what is at hand to the windows.
    fn append(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        for (partition, mut builder) in open.drain(..) {
            builder.build().into_iter().for_each(|batch| self.append_one(&partition, batch));
            if self.spare.len() < Self::SPARE_BUILDERS_MAX && builder.is_ordinary() {
                self.spare.push(builder);
            }
        }
        self.open = open;
    }

    fn append_one(&self, partition: &Arc<Partition>, batch: RecordBatch) {
        self.metrics.records.inc_by(batch.len() as u64);
        self.metrics.bytes.inc_by(batch.bytes() as u64);
        match partition.receive(batch, self.drained_at, Instant::now()) {
            AppendOutcome::Appended => {}
            AppendOutcome::Held | AppendOutcome::ConfirmSoon => self.signals.held.notify_one(),
            AppendOutcome::Overflow => {
                tracing::warn!(topic = %partition.topic, partition = %partition.id, "held too much, read again later");
                // Assigned again when Kafka has answered: reading on would only fill the fence again.
                self.tail.release(partition);
                self.signals.held.notify_one();
            }
        }
    }

    /// Makes the windows fit their budget: the largest one sheds its oldest records, so that a busy partition does not
    /// cost a quiet one its window.
    fn shed(&self) {
        if self.budget.used() <= self.budget.max() {
            return;
        }
        // A little more than needed, so that the search for the largest is not made for every batch.
        let goal = self.budget.max() - self.budget.max() / 32;
        let partitions = self.tail.assignment().all();
        while self.budget.used() > goal {
            let largest = partitions.iter().max_by_key(|partition| partition.memory());
            if !largest.is_some_and(|partition| partition.evict_oldest()) {
                return;
            }
            self.metrics.evictions.inc();
        }
    }

    fn failed(&self, error: KafkaError) -> Result<(), FeedError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => return Err(FeedError::Fatal(error)),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.signals.rejected.notify_one();
            }
            _ => {}
        }
        // What a person should know of it, the client's context has logged, at a rate that can be read.
        tracing::debug!(%error, "the tail met an error");
        Ok(())
    }
}
