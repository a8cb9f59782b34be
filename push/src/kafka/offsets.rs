//! What a subscription has to ask Kafka before it can start: where a partition begins and ends, and which offset belongs
//! to a time.
//!
//! rdkafka's calls block, so they run on the runtime's blocking threads, a bounded number at a time.
//!
//! Invariant: an end that is before what is known to have been there is not believed at once ([`confirmed_watermarks`]): a broker that
//! leads no more and has not heard of it knows an older one, and what hangs on it is a subscription.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tailcast_proto::{Offset, PartitionId, TopicName};
use tailcast_services::{kafka::Context, lifecycle::Lifecycle};
use tokio::sync::Semaphore;

/// Asks Kafka for offsets.
#[derive(Clone)]
pub(crate) struct KafkaOffsets {
    consumer: Arc<BaseConsumer<Context>>,
    /// Bounds the blocking threads that wait for Kafka. Who does not get a permit waits: sessions wait for nothing else.
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// What Kafka has of a partition: `low` ≤ every offset < `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) low: Offset,
    pub(crate) high: Offset,
}

/// How long an end is doubted that is before what is known to be there: as long as an election takes.
const RECHECK_PAUSE: Duration = Duration::from_millis(500);

/// Why Kafka did not say an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OffsetsError {
    /// The partition has no leader that knows of it: the topic was just created or deleted, or a leader is being elected.
    #[error("the partition has no leader")]
    NoLeader,
    /// Kafka did not answer. Trying again may help.
    #[error("Kafka did not answer: {0}")]
    Unavailable(String),
}

impl Watermarks {
    /// What librdkafka calls the watermarks of a partition.
    pub(crate) fn of(low: i64, high: i64) -> Self {
        let offset = |offset| Offset::new(offset).unwrap_or(Offset::ZERO);
        Self { low: offset(low), high: offset(high) }
    }
}

impl KafkaOffsets {
    /// How many calls wait for Kafka at the same time.
    const CALLS_MAX: usize = 8;
    /// How long a call waits. Long enough for a leader election, short enough that a client is told.
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// How often a partition without a leader is asked for, and how long apart: one second together.
    const TRIES_MAX: u32 = 11;
    const TRY_PAUSE: Duration = Duration::from_millis(100);

    pub(crate) fn new(consumer: BaseConsumer<Context>, lifecycle: Lifecycle) -> Self {
        Self { consumer: Arc::new(consumer), permits: Arc::new(Semaphore::new(Self::CALLS_MAX)), lifecycle }
    }

    /// Asks where a partition begins and ends.
    ///
    /// # Errors
    ///
    /// See [`OffsetsError`]. Cancel safe: the call goes on, and its answer is dropped.
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
            // librdkafka asks whom it remembers to lead the topic's partitions, for half a minute, and remembers none of a
            // partition that was added since.
            self.forget_leaders(topic).await?;
            // Brokers learn of a new partition one after the other. The usual case is over in some 100 ms.
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

    /// Asks for the first offset whose record is not older than a time in milliseconds since the Unix epoch; `None` when
    /// there is no such record yet.
    ///
    /// # Errors
    ///
    /// See [`OffsetsError`]. Cancel safe: the call goes on, and its answer is dropped.
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

    /// Makes librdkafka look again at who leads the partitions of a topic.
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

    /// Waits for a call of librdkafka that blocks, as one of the bounded number. Cancel safe: the call goes on.
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

/// Asks where a partition begins and ends, and once more when it should end before `known`, half a second later: `pass` lets
/// the time pass. A second answer that says the same is to be believed.
///
/// # Errors
///
/// Those of `ask`. Cancel safe where `ask` is.
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

    /// Has a broker say one end after the other. Returns which is believed of a partition known up to 7, and after how long.
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
    fn an_end_that_is_before_what_is_known_is_asked_for_again_after_a_doubt() {
        assert_eq!(confirmed_of(&[7]), (7, Duration::ZERO));
        assert_eq!(confirmed_of(&[9]), (9, Duration::ZERO));
        // A leader that was deposed, and its successor.
        assert_eq!(confirmed_of(&[5, 8]), (8, RECHECK_PAUSE));
        // A log that was cut back.
        assert_eq!(confirmed_of(&[5, 5]), (5, RECHECK_PAUSE));
    }
}
