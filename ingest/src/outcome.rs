//! The outcome of a message, and how Kafka's errors map to it.
//!
//! *Acknowledged*: the message is in Kafka. *Refused*: it is not in Kafka and will not appear
//! there. *Unknown*: it may or may not appear. A message that may appear is never reported as
//! refused.

mod kafka;

use std::borrow::Cow;

use tailcast_proto::{Offset, PartitionId, ingest::v1};

/// The outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All in-sync replicas have the message.
    Acknowledged {
        /// The partition.
        partition: PartitionId,
        /// The offset in the partition.
        offset: Offset,
    },
    /// The message is not in Kafka and will not appear there.
    Refused(Failure),
    /// The message may or may not appear.
    Unknown(Failure),
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason, for programs.
    pub(crate) reason: FailureReason,
    /// The reason, for people.
    pub(crate) detail: Cow<'static, str>,
}

/// Why a message was not acknowledged, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FailureReason {
    /// The topic does not exist.
    UnknownTopic,
    /// The message exceeds the topic's limit.
    TooLarge,
    /// Kafka does not authorize this node to write to the topic.
    NotAuthorized,
    /// The caller may not publish the record.
    PermissionDenied,
    /// Fewer replicas are in sync than the topic requires.
    NotEnoughReplicas,
    /// Kafka could not be reached, or did not answer in time.
    KafkaUnavailable,
    /// Kafka rejected the record as invalid.
    InvalidRecord,
    /// The producer's queue is full.
    QueueFull,
    /// A field is invalid.
    InvalidArgument,
    /// Any other Kafka error.
    KafkaError,
}

impl Outcome {
    /// The outcome of an acknowledgement. It has no offset if Kafka recognises a retry, but no
    /// longer remembers the offset of the first attempt.
    pub(crate) fn of_acknowledgement(partition: i32, offset: i64) -> Self {
        match (PartitionId::try_from(partition), Offset::new(offset)) {
            (Ok(partition), Some(offset)) => Self::Acknowledged { partition, offset },
            _ => Self::Unknown(Failure {
                reason: FailureReason::KafkaError,
                detail: "Kafka recognised a retry, but did not return the offset of the first attempt".into(),
            }),
        }
    }

    /// Returns the wire form.
    pub(crate) fn wire(&self, topic: &str) -> v1::Outcome {
        use v1::outcome::Result as Wire;

        let result = match self {
            Self::Acknowledged { partition, offset } => Wire::Acknowledged(v1::Acknowledged {
                topic: topic.to_owned(),
                partition: partition.get(),
                offset: offset.get(),
            }),
            Self::Refused(Failure { reason, detail }) => {
                Wire::Refused(v1::Refused { reason: reason.wire().into(), detail: detail.to_string() })
            }
            Self::Unknown(Failure { reason, detail }) => {
                Wire::Unknown(v1::Unknown { reason: reason.wire().into(), detail: detail.to_string() })
            }
        };
        v1::Outcome { result: Some(result) }
    }
}

impl Failure {
    pub(crate) fn new(reason: FailureReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl FailureReason {
    /// Returns the wire form. A full queue means that Kafka cannot keep up, so it is reported as
    /// `KAFKA_UNAVAILABLE`.
    fn wire(self) -> v1::Reason {
        match self {
            Self::UnknownTopic => v1::Reason::UnknownTopic,
            Self::TooLarge => v1::Reason::TooLarge,
            Self::NotAuthorized => v1::Reason::NotAuthorized,
            Self::PermissionDenied => v1::Reason::PermissionDenied,
            Self::NotEnoughReplicas => v1::Reason::NotEnoughReplicas,
            Self::KafkaUnavailable | Self::QueueFull => v1::Reason::KafkaUnavailable,
            Self::InvalidRecord => v1::Reason::InvalidRecord,
            Self::InvalidArgument => v1::Reason::InvalidArgument,
            Self::KafkaError => v1::Reason::KafkaError,
        }
    }

    /// Returns the stable name in `google.rpc.ErrorInfo` and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UnknownTopic => "UNKNOWN_TOPIC",
            Self::TooLarge => "TOO_LARGE",
            Self::NotAuthorized => "NOT_AUTHORIZED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotEnoughReplicas => "NOT_ENOUGH_REPLICAS",
            Self::KafkaUnavailable => "KAFKA_UNAVAILABLE",
            Self::InvalidRecord => "INVALID_RECORD",
            Self::QueueFull => "QUEUE_FULL",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::KafkaError => "KAFKA_ERROR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_without_an_offset_is_unknown() {
        let acknowledged = Outcome::of_acknowledgement(3, 7);
        assert!(matches!(acknowledged, Outcome::Acknowledged { partition, offset }
            if partition.get() == 3 && offset.get() == 7));
        assert!(matches!(Outcome::of_acknowledgement(3, -1), Outcome::Unknown(_)));
    }
}
