//! The loop that reads the tail of Kafka and appends it to the windows.
//!
//! It has a thread of its own, because librdkafka's poll blocks and rdkafka's stream API can lose
//! wake-ups. It never waits for a session, never queries Kafka, and never seeks backwards.

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
    /// The partitions of the records read in this round, with a batch for each.
    open: Vec<(Arc<Partition>, RecordBatchBuilder)>,
    /// Empty builders whose memory is likely still in cache.
    spare: Vec<RecordBatchBuilder>,
    /// The assignment's change count when `open` was last checked.
    seen_changes: u64,
    headers: BytesMut,
    /// A time before which every fetched record is known to have been polled.
    caught_up_at: Instant,
}

/// Work that the feed leaves to other tasks, because it never queries Kafka.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedSignals {
    /// Kafka rejected an offset. The hub finds out of which partition.
    pub(crate) rejected: Arc<Notify>,
    /// Records are held until Kafka confirms the topic id.
    pub(crate) held: Arc<Notify>,
}

/// Why the feed had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// librdkafka reported a fatal error. This consumer cannot be used any more.
    #[error("fatal error of the tail consumer: {0}")]
    Fatal(KafkaError),
}

impl Feed {
    /// How long a poll waits for a record before the loop checks whether to stop.
    const POLL_TIMEOUT: Duration = Duration::from_millis(100);
    /// A poll that took at least this long found no record waiting.
    const WAIT_MIN: Duration = Duration::from_millis(1);
    /// Number of records after which a round is appended, so that a backlog does not have to be
    /// read completely first.
    const ROUND_RECORDS_MAX: usize = 2_000;
    /// Number of builders kept for the next round. A builder takes up to half a megabyte, and a
    /// round rarely has more partitions.
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
            caught_up_at: Instant::now(),
        }
    }

    /// Reads until `stopped` returns true.
    ///
    /// # Errors
    ///
    /// If librdkafka reports a fatal error. It recovers from all others by itself.
    pub(crate) fn run(mut self, stopped: impl Fn() -> bool) -> Result<(), FeedError> {
        let tail = Arc::clone(&self.tail);
        while !stopped() {
            // No record is in `open` at this point.
            tail.apply_rereads();
            let began = Instant::now();
            let mut polled = tail.consumer().poll(Self::POLL_TIMEOUT);
            if began.elapsed() >= Self::WAIT_MIN {
                self.caught_up_at = Instant::now();
            }
            let (mut round, mut is_caught_up) = (0, true);
            while let Some(result) = polled {
                match result {
                    Ok(message) => self.take(&message),
                    Err(error) => self.handle_error(error)?,
                }
                round += 1;
                if round >= Self::ROUND_RECORDS_MAX {
                    is_caught_up = false;
                    break;
                }
                polled = tail.consumer().poll(Duration::ZERO);
            }
            let caught_up_at = Instant::now();
            self.append();
            if is_caught_up {
                self.caught_up_at = caught_up_at;
            }
            self.evict();
        }
        Ok(())
    }

    /// Adds a record to the batch of its partition.
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

    /// Returns the index in `open` for the message's partition; `None` if the partition was
    /// released.
    fn open_for(&mut self, message: &BorrowedMessage<'_>) -> Option<usize> {
        self.append_released();
        let (topic, id) = (message.topic(), message.partition());
        let is_it = |(partition, _): &(Arc<Partition>, _)| {
            partition.id.kafka() == id && partition.topic.as_str() == topic
        };
        // Records come in runs of one partition, so the last entry is usually the right one.
        if let Some(at) = self.open.iter().rposition(is_it) {
            return Some(at);
        }
        let partition = self.tail.assignment().find(topic, id)?;
        self.open.push((partition, self.spare.pop().unwrap_or_default()));
        Some(self.open.len() - 1)
    }

    /// Appends the batches of partitions that were released. A partition with the same name may
    /// have been assigned since, and its records must not be mixed with these.
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

    /// Appends all batches to their windows.
    fn append(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        for (partition, mut builder) in open.drain(..) {
            builder.build().into_iter().for_each(|batch| self.append_one(&partition, batch));
            if self.spare.len() < Self::SPARE_BUILDERS_MAX && builder.has_usual_capacity() {
                self.spare.push(builder);
            }
        }
        self.open = open;
    }

    fn append_one(&self, partition: &Arc<Partition>, batch: RecordBatch) {
        self.metrics.records.inc_by(batch.len() as u64);
        self.metrics.bytes.inc_by(batch.bytes() as u64);
        match partition.receive(batch, self.caught_up_at, Instant::now()) {
            AppendOutcome::Appended => {}
            AppendOutcome::Held | AppendOutcome::ConfirmSoon => self.signals.held.notify_one(),
            AppendOutcome::Overflow => {
                tracing::warn!(topic = %partition.topic, partition = %partition.id, "limit of held records exceeded; reading them again after confirming the topic id");
                // Assigned again once Kafka has answered. Until then, reading on would only fill
                // the fence again.
                self.tail.release(partition);
                self.signals.held.notify_one();
            }
        }
    }

    /// Evicts the oldest records of the largest window until all windows are within the budget, so
    /// that a busy partition does not cost a quiet one its window.
    fn evict(&self) {
        if self.budget.used() <= self.budget.max() {
            return;
        }
        // Slightly more than necessary, so that not every batch searches for the largest window.
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

    fn handle_error(&self, error: KafkaError) -> Result<(), FeedError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => return Err(FeedError::Fatal(error)),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.signals.rejected.notify_one();
            }
            _ => {}
        }
        // The client's context logs errors at a limited rate.
        tracing::debug!(%error, "Kafka error of the tail consumer");
        Ok(())
    }
}
