//! Recovering partitions that have to be read again, or whose offset Kafka rejected.

use std::sync::Arc;

use futures_util::future::join_all;
use tailcast_proto::push::v1::UnsubscribeReason;
use tailcast_services::topics::{LookupError, Topics};
use tokio::time::sleep;

use super::Hub;
use crate::{
    kafka::offsets::{OffsetsError, confirmed_watermarks},
    partition::Partition,
};

/// Why a partition could not be recovered. It is tried again.
#[derive(Debug, thiserror::Error)]
enum RecoveryError {
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    #[error(transparent)]
    Topic(#[from] LookupError),
}

impl Hub {
    /// Reads a partition again from its head, unless it was retired.
    pub(crate) fn reassign(&self, partition: &Arc<Partition>) {
        self.tail.request_reread(partition);
    }

    /// Recovers partitions whose offset Kafka rejected: continues at the low watermark if retention
    /// passed the head, or closes the subscriptions if the log ends before it. Kafka does not say
    /// which partition it rejected, and librdkafka stops reading it, so all are checked and read
    /// again. Returns whether Kafka answered for all of them.
    pub(crate) async fn recover(&self, topics: &Topics) -> bool {
        let partitions = self.partitions();
        let recovered = join_all(partitions.iter().map(|partition| self.recover_one(partition, topics)));
        recovered.await.iter().all(Result::is_ok)
    }

    async fn recover_one(&self, partition: &Arc<Partition>, topics: &Topics) -> Result<(), RecoveryError> {
        let (topic, id) = (&partition.topic, partition.id);
        // Loaded before the query, so that a partition that grows meanwhile does not seem to end
        // before its head.
        let head = partition.head();
        let watermarks = confirmed_watermarks(head, || self.offsets.watermarks(topic, id), sleep).await?;
        if head < watermarks.low || head > watermarks.high {
            // A log that seems truncated usually belongs to a new topic with the same name.
            if topics.ask(topic).await?.epoch != partition.epoch {
                self.close_topic(topic, partition.epoch, UnsubscribeReason::TopicRecreated);
                return Ok(());
            }
        }
        if head > watermarks.high {
            tracing::error!(%topic, partition = %id, %head, high = %watermarks.high, "the log was truncated; closing its subscriptions");
            self.close_topic(topic, partition.epoch, UnsubscribeReason::LogTruncated);
            return Ok(());
        }
        if head < watermarks.low {
            tracing::warn!(%topic, partition = %id, %head, low = %watermarks.low, "retention passed the tail; continuing at the low watermark");
            partition.restart(watermarks.low);
        }
        self.reassign(partition);
        Ok(())
    }
}
