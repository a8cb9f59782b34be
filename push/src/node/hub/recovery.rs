//! Looking after partitions that have to be read again, or whose offset Kafka refused.

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

/// Why a partition could not be looked after: Kafka has to be asked again.
#[derive(Debug, thiserror::Error)]
enum RecoveryError {
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    #[error(transparent)]
    Topic(#[from] LookupError),
}

impl Hub {
    /// Has a partition read again from its head on, if it is still wanted.
    pub(crate) fn reassign(&self, partition: &Arc<Partition>) {
        self.tail.request_reread(partition);
    }

    /// Looks after partitions whose offset Kafka refused: goes on where Kafka's log begins, or closes the subscriptions when
    /// it ends before what this node has read. Kafka refuses without saying whose offset, and stops that partition, so all
    /// are looked at and read again. Returns whether Kafka answered for all of them.
    pub(crate) async fn recover(&self, topics: &Topics) -> bool {
        let partitions = self.partitions();
        let recovered = join_all(partitions.iter().map(|partition| self.recover_one(partition, topics)));
        recovered.await.iter().all(Result::is_ok)
    }

    async fn recover_one(&self, partition: &Arc<Partition>, topics: &Topics) -> Result<(), RecoveryError> {
        let (topic, id) = (&partition.topic, partition.id);
        // Before Kafka is asked: a partition that grows meanwhile must not look as if it ended before its head.
        let head = partition.head();
        let watermarks = confirmed_watermarks(head, || self.offsets.watermarks(topic, id), sleep).await?;
        if head < watermarks.low || head > watermarks.high {
            // The bounds may be those of a topic that was created since, under the same name: a log that seems cut back is
            // most often that.
            if topics.ask(topic).await?.epoch != partition.epoch {
                self.close_topic(topic, partition.epoch, UnsubscribeReason::TopicRecreated);
                return Ok(());
            }
        }
        if head > watermarks.high {
            tracing::error!(%topic, partition = %id, %head, high = %watermarks.high, "the log was cut back");
            self.close_topic(topic, partition.epoch, UnsubscribeReason::LogTruncated);
            return Ok(());
        }
        if head < watermarks.low {
            tracing::warn!(%topic, partition = %id, %head, low = %watermarks.low, "retention passed the tail");
            partition.restart(watermarks.low);
        }
        self.reassign(partition);
        Ok(())
    }
}
