//! Offset queries: where a partition begins and ends, and the offset for a time.
//!
//! rdkafka's calls block, so a bounded number of them run on the runtime's blocking threads.
//!
//! Invariant: an end before an offset that is known to exist is not believed at once
//! ([`confirmed_watermarks`]). It may come from a deposed leader that has not heard of its
//! successor, and believing it would end subscriptions.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tailcast_proto::{Offset, PartitionId, TopicName};
use tailcast_services::{kafka::Context, lifecycle::Lifecycle};
use tokio::sync::Semaphore;

/// Queries Kafka for offsets.
#[derive(Clone)]
pub(crate) struct KafkaOffsets {
    consumer: Arc<BaseConsumer<Context>>,
    /// Limits the blocking threads that wait for Kafka. Other calls wait for a permit.
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// The watermarks of a partition: `low` ≤ every offset in Kafka < `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) low: Offset,
    pub(crate) high: Offset,
}

/// Pause before the end is queried again if it lies before a known offset. Leader elections take
/// about as long.
const RECHECK_PAUSE: Duration = Duration::from_millis(500);

/// Why Kafka returned no offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OffsetsError {
    /// No leader knows the partition: the topic was just created or deleted, or a leader is being
    /// elected.
    #[error("the partition has no leader")]
    NoLeader,
    /// Kafka did not answer. A retry may succeed.
    #[error("Kafka did not answer: {0}")]
    Unavailable(String),
}

impl Watermarks {
    /// Converts librdkafka's watermarks.
    pub(crate) fn of(low: i64, high: i64) -> Self {
        let offset = |offset| Offset::new(offset).unwrap_or(Offset::ZERO);
        Self { low: offset(low), high: offset(high) }
    }
}

impl KafkaOffsets {
    /// Maximum number of concurrent calls.
    const CALLS_MAX: usize = 8;
    /// Timeout of a call: long enough for a leader election, short enough for a waiting client.
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Tries for a partition without a leader, and the pause between them: about one second in
    /// total.
    const TRIES_MAX: u32 = 11;
    const TRY_PAUSE: Duration = Duration::from_millis(100);

    pub(crate) fn new(consumer: BaseConsumer<Context>, lifecycle: Lifecycle) -> Self {
        Self { consumer: Arc::new(consumer), permits: Arc::new(Semaphore::new(Self::CALLS_MAX)), lifecycle }
    }

    /// Queries the watermarks of a partition.
    ///
    /// # Errors
    ///
    /// See [`OffsetsError`]. Cancel safe: the call completes, and its result is dropped.
    pub(crate) async fn watermarks(
        &self,
        topic: &TopicName,
        partition: PartitionId,
    ) -> Result<Watermarks, OffsetsError> {
        let mut tries = 0;
        loop {
            let watermarks = self.watermarks_once(topic, partition).await;
            tries += 1;
            if watermarks != Err(OffsetsError::NoLeader) || tries == Self::TRIES_MAX {
                return watermarks;
            }
            // librdkafka caches the leaders of a topic's partitions for 30 s, and has none for a
            // partition that was added since.
            self.forget_leaders(topic).await?;
            // Brokers learn of a new partition one by one, usually within 100 ms.
            tokio::time::sleep(Self::TRY_PAUSE).await;
        }
    }

    async fn watermarks_once(
        &self,
        topic: &TopicName,
        partition: PartitionId,
    ) -> Result<Watermarks, OffsetsError> {
        let topic = topic.clone();
        self.call(move |consumer| {
            let (low, high) = consumer.fetch_watermarks(topic.as_str(), partition.kafka(), Self::TIMEOUT)?;
            Ok(Watermarks::of(low, high))
        })
        .await
    }

    /// Queries the first offset whose record is not older than a time, in milliseconds since the
    /// Unix epoch; `None` if there is no such record yet.
    ///
    /// # Errors
    ///
    /// See [`OffsetsError`]. Cancel safe: the call completes, and its result is dropped.
    pub(crate) async fn at_time(
        &self,
        topic: &TopicName,
        partition: PartitionId,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, OffsetsError> {
        let topic = topic.clone();
        self.call(move |consumer| {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(
                topic.as_str(),
                partition.kafka(),
                KafkaOffset::Offset(timestamp_ms),
            )?;
            let answered = consumer.offsets_for_times(asked, Self::TIMEOUT)?;
            let found = answered.find_partition(topic.as_str(), partition.kafka());
            let Some(found) = found else { return Ok(None) };
            found.error()?;
            Ok(match found.offset() {
                KafkaOffset::Offset(offset) => Offset::new(offset),
                _ => None,
            })
        })
        .await
    }

    /// Makes librdkafka refresh the leaders of a topic's partitions.
    async fn forget_leaders(&self, topic: &TopicName) -> Result<(), OffsetsError> {
        let topic = topic.clone();
        self.call(move |consumer| consumer.fetch_metadata(Some(topic.as_str()), Self::TIMEOUT)).await?;
        Ok(())
    }

    async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&BaseConsumer<Context>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, OffsetsError> {
        let consumer = Arc::clone(&self.consumer);
        self.wait_for(move || ask(&consumer)).await
    }

    /// Runs a blocking librdkafka call when a permit is free. Cancel safe: the call completes.
    ///
    /// # Errors
    ///
    /// See [`OffsetsError`].
    pub(crate) async fn wait_for<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, OffsetsError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let answer = self.lifecycle.blocking(move || {
            let answer = call();
            drop(permit);
            answer
        });
        answer.await.map_err(OffsetsError::from)
    }
}

/// Queries the watermarks, and queries them again after a pause if the partition ends before
/// `known`. The second answer is believed. `pass` waits for the pause.
///
/// # Errors
///
/// Those of `ask`. Cancel safe if `ask` is.
pub(crate) async fn confirmed_watermarks<
    E,
    Answer: Future<Output = Result<Watermarks, E>>,
    Passed: Future<Output = ()>,
>(
    known: Offset,
    mut ask: impl FnMut() -> Answer,
    pass: impl FnOnce(Duration) -> Passed,
) -> Result<Watermarks, E> {
    let watermarks = ask().await?;
    if known <= watermarks.high {
        return Ok(watermarks);
    }
    pass(RECHECK_PAUSE).await;
    ask().await
}

impl From<KafkaError> for OffsetsError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition,
            ) => Self::NoLeader,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use futures_executor::block_on;

    use super::*;

    fn offset(offset: i64) -> Offset {
        Offset::new(offset).expect("an offset")
    }

    /// Simulates a broker that returns one end after the other. Returns the confirmed end of a
    /// partition known up to 7, and the pause.
    fn confirmed_of(highs: &[i64]) -> (i64, Duration) {
        let (mut highs, mut passed) = (highs.iter(), Duration::ZERO);
        let ask = || {
            let high = highs.next().expect("it is not asked more often than that");
            ready(Ok::<_, Infallible>(Watermarks::of(0, *high)))
        };
        let pass = |doubt| {
            passed += doubt;
            ready(())
        };
        let Ok(watermarks) = block_on(confirmed_watermarks(offset(7), ask, pass));
        assert_eq!(highs.next(), None, "it is asked as often as that");
        (watermarks.high.get(), passed)
    }

    #[test]
    fn an_end_before_a_known_offset_is_queried_again_after_a_pause() {
        assert_eq!(confirmed_of(&[7]), (7, Duration::ZERO));
        assert_eq!(confirmed_of(&[9]), (9, Duration::ZERO));
        // A deposed leader, then its successor.
        assert_eq!(confirmed_of(&[5, 8]), (8, RECHECK_PAUSE));
        // A truncated log.
        assert_eq!(confirmed_of(&[5, 5]), (5, RECHECK_PAUSE));
    }
}
