//! How a message ends, and what an error of Kafka means for that.
//!
//! *Acknowledged*: Kafka has it. *Refused*: it is not in Kafka and will not appear there. *Unknown*: it may or may not
//! appear. The one rule: never say refused of a message that may appear. An error code alone does not decide that (see
//! `tailcast_message_status`), so both the code and librdkafka's status of the message have to allow it.

use std::borrow::Cow;

use rdkafka::types::RDKafkaErrorCode as Code;
use tailcast_message_status::MessageStatus;
use tailcast_proto::{Offset, PartitionId, ingest::v1};

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All in-sync replicas have it.
    Acknowledged {
        /// The partition that its key chose.
        partition: PartitionId,
        /// Its offset there.
        offset: Offset,
    },
    /// It is not in Kafka and will not appear there.
    Refused(Cause),
    /// It may or may not appear.
    Unknown(Cause),
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// Why, for programs.
    pub(crate) why: Why,
    /// Why, for people.
    pub(crate) detail: Cow<'static, str>,
}

/// Why a message was not acknowledged, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Why {
    /// The topic does not exist.
    UnknownTopic,
    /// It is larger than the topic allows.
    TooLarge,
    /// Kafka does not let ingest write there.
    NotAuthorized,
    /// Fewer replicas are in sync than the topic asks for.
    NotEnoughReplicas,
    /// Kafka could not be reached, or did not answer in time.
    KafkaUnavailable,
    /// Kafka refused the record as invalid.
    InvalidRecord,
    /// The producer takes no more at the moment.
    QueueFull,
    /// A field is not valid.
    InvalidArgument,
    /// Any other error of Kafka.
    KafkaError,
}

/// What Kafka's errors mean. What is not listed is `KafkaError`.
const MEANINGS: [(Code, Why); 32] = [
    (Code::UnknownTopic, Why::UnknownTopic),
    (Code::UnknownTopicOrPartition, Why::UnknownTopic),
    (Code::UnknownPartition, Why::UnknownTopic),
    (Code::UnknownTopicId, Why::UnknownTopic),
    (Code::MessageSizeTooLarge, Why::TooLarge),
    (Code::MessageBatchTooLarge, Why::TooLarge),
    (Code::InvalidMessageSize, Why::TooLarge),
    (Code::TopicAuthorizationFailed, Why::NotAuthorized),
    (Code::ClusterAuthorizationFailed, Why::NotAuthorized),
    (Code::Authentication, Why::NotAuthorized),
    (Code::SaslAuthenticationFailed, Why::NotAuthorized),
    (Code::NotEnoughReplicas, Why::NotEnoughReplicas),
    (Code::NotEnoughReplicasAfterAppend, Why::NotEnoughReplicas),
    (Code::InvalidRecord, Why::InvalidRecord),
    (Code::InvalidMessage, Why::InvalidRecord),
    (Code::InvalidTimestamp, Why::InvalidRecord),
    (Code::PolicyViolation, Why::InvalidRecord),
    (Code::InvalidTopic, Why::InvalidRecord),
    (Code::QueueFull, Why::QueueFull),
    (Code::MessageTimedOut, Why::KafkaUnavailable),
    (Code::OperationTimedOut, Why::KafkaUnavailable),
    (Code::RequestTimedOut, Why::KafkaUnavailable),
    (Code::TimedOutQueue, Why::KafkaUnavailable),
    (Code::BrokerTransportFailure, Why::KafkaUnavailable),
    (Code::AllBrokersDown, Why::KafkaUnavailable),
    (Code::Resolve, Why::KafkaUnavailable),
    (Code::BrokerNotAvailable, Why::KafkaUnavailable),
    (Code::LeaderNotAvailable, Why::KafkaUnavailable),
    (Code::NotLeaderForPartition, Why::KafkaUnavailable),
    (Code::NetworkException, Why::KafkaUnavailable),
    (Code::PurgeQueue, Why::KafkaUnavailable),
    (Code::PurgeInflight, Why::KafkaUnavailable),
];

/// Errors after which a record may be in Kafka whatever the status of the message says: each answers (or stands for the
/// missing answer to) a request that was sent.
const MAY_BE_WRITTEN: [Code; 7] = [
    Code::NotEnoughReplicasAfterAppend,
    Code::RequestTimedOut,
    Code::NetworkException,
    Code::PurgeInflight,
    Code::OutOfOrderSequenceNumber,
    Code::DuplicateSequenceNumber,
    Code::BadMessage,
];

impl Outcome {
    /// What a failed delivery means.
    pub(crate) fn of_failure(code: Code, status: MessageStatus) -> Self {
        let cause = Cause::of_kafka(code);
        match status {
            MessageStatus::NotPersisted if !MAY_BE_WRITTEN.contains(&code) => Self::Refused(cause),
            MessageStatus::NotPersisted | MessageStatus::PossiblyPersisted | MessageStatus::Persisted => {
                Self::Unknown(cause)
            }
        }
    }

    /// What an acknowledgement means. Kafka leaves the offset out when it recognises a retry of a batch so old that it
    /// has forgotten where it put it.
    pub(crate) fn of_acknowledgement(partition: i32, offset: i64) -> Self {
        match (PartitionId::try_from(partition), Offset::new(offset)) {
            (Ok(partition), Some(offset)) => Self::Acknowledged { partition, offset },
            _ => Self::Unknown(Cause {
                why: Why::KafkaError,
                detail: "Kafka recognised a retry and does not say where the first attempt is".into(),
            }),
        }
    }

    /// The outcome as the contract has it.
    pub(crate) fn wire(&self, topic: &str) -> v1::Outcome {
        use v1::outcome::Result as Wire;

        let result = match self {
            Self::Acknowledged { partition, offset } => Wire::Acknowledged(v1::Acknowledged {
                topic: topic.to_owned(),
                partition: partition.get(),
                offset: offset.get(),
            }),
            Self::Refused(Cause { why, detail }) => {
                Wire::Refused(v1::Refused { reason: why.reason().into(), detail: detail.to_string() })
            }
            Self::Unknown(Cause { why, detail }) => {
                Wire::Unknown(v1::Unknown { reason: why.reason().into(), detail: detail.to_string() })
            }
        };
        v1::Outcome { result: Some(result) }
    }
}

impl Cause {
    pub(crate) fn new(why: Why, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { why, detail: detail.into() }
    }

    /// What an error of Kafka means.
    pub(crate) fn of_kafka(code: Code) -> Self {
        let why =
            MEANINGS.iter().find(|(listed, _)| *listed == code).map_or(Why::KafkaError, |(_, why)| *why);
        let detail = match code {
            Code::MessageTimedOut => "Kafka did not answer within message.timeout.ms".into(),
            Code::PurgeQueue | Code::PurgeInflight => "this node shut down before Kafka answered".into(),
            Code::QueueFull => "the producer's queue is full; try again".into(),
            _ => format!("{code}").into(),
        };
        Self { why, detail }
    }
}

impl Why {
    /// The contract's name for it. A full queue is Kafka not keeping up, and the contract has no closer word.
    fn reason(self) -> v1::Reason {
        match self {
            Self::UnknownTopic => v1::Reason::UnknownTopic,
            Self::TooLarge => v1::Reason::TooLarge,
            Self::NotAuthorized => v1::Reason::NotAuthorized,
            Self::NotEnoughReplicas => v1::Reason::NotEnoughReplicas,
            Self::KafkaUnavailable | Self::QueueFull => v1::Reason::KafkaUnavailable,
            Self::InvalidRecord => v1::Reason::InvalidRecord,
            Self::InvalidArgument => v1::Reason::InvalidArgument,
            Self::KafkaError => v1::Reason::KafkaError,
        }
    }

    /// The stable word for it in `google.rpc.ErrorInfo` and in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::UnknownTopic => "UNKNOWN_TOPIC",
            Self::TooLarge => "TOO_LARGE",
            Self::NotAuthorized => "NOT_AUTHORIZED",
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
    use MessageStatus::{NotPersisted, Persisted, PossiblyPersisted};

    use super::*;

    #[track_caller]
    fn check(code: Code, status: MessageStatus, expected: &str) {
        let found = match Outcome::of_failure(code, status) {
            Outcome::Acknowledged { .. } => "acknowledged".to_owned(),
            Outcome::Refused(cause) => format!("refused {}", cause.why.word()),
            Outcome::Unknown(cause) => format!("unknown {}", cause.why.word()),
        };
        assert_eq!(found, expected, "{code:?} {status:?}");
    }

    #[test]
    fn what_was_never_sent_is_refused() {
        check(Code::MessageTimedOut, NotPersisted, "refused KAFKA_UNAVAILABLE");
        check(Code::PurgeQueue, NotPersisted, "refused KAFKA_UNAVAILABLE");
        check(Code::QueueFull, NotPersisted, "refused QUEUE_FULL");
        check(Code::UnknownTopic, NotPersisted, "refused UNKNOWN_TOPIC");
        check(Code::UnknownPartition, NotPersisted, "refused UNKNOWN_TOPIC");
        check(Code::AllBrokersDown, NotPersisted, "refused KAFKA_UNAVAILABLE");
    }

    #[test]
    fn what_a_broker_refused_is_refused() {
        check(Code::MessageSizeTooLarge, NotPersisted, "refused TOO_LARGE");
        check(Code::MessageBatchTooLarge, NotPersisted, "refused TOO_LARGE");
        check(Code::TopicAuthorizationFailed, NotPersisted, "refused NOT_AUTHORIZED");
        check(Code::NotEnoughReplicas, NotPersisted, "refused NOT_ENOUGH_REPLICAS");
        check(Code::InvalidRecord, NotPersisted, "refused INVALID_RECORD");
        check(Code::InvalidDifferentRecord, NotPersisted, "refused KAFKA_ERROR");
        check(Code::UnknownTopicOrPartition, NotPersisted, "refused UNKNOWN_TOPIC");
    }

    #[test]
    fn what_was_sent_and_not_answered_is_unknown() {
        check(Code::MessageTimedOut, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::PurgeInflight, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::BrokerTransportFailure, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::PurgeQueue, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
    }

    #[test]
    fn a_refusal_of_the_second_attempt_does_not_make_the_first_one_undone() {
        check(Code::TopicAuthorizationFailed, PossiblyPersisted, "unknown NOT_AUTHORIZED");
        check(Code::NotEnoughReplicas, PossiblyPersisted, "unknown NOT_ENOUGH_REPLICAS");
        check(Code::MessageSizeTooLarge, Persisted, "unknown TOO_LARGE");
    }

    #[test]
    fn an_error_after_the_append_is_unknown_whatever_the_status_says() {
        for code in MAY_BE_WRITTEN {
            let outcome = Outcome::of_failure(code, NotPersisted);
            assert!(matches!(outcome, Outcome::Unknown(_)), "{code:?} gives {outcome:?}");
        }
        check(Code::NotEnoughReplicasAfterAppend, NotPersisted, "unknown NOT_ENOUGH_REPLICAS");
        check(Code::RequestTimedOut, NotPersisted, "unknown KAFKA_UNAVAILABLE");
    }

    #[test]
    fn no_error_is_listed_twice() {
        for (at, (code, _)) in MEANINGS.iter().enumerate() {
            assert!(!MEANINGS[..at].iter().any(|(other, _)| other == code), "{code:?}");
        }
    }

    #[test]
    fn an_acknowledgement_without_an_offset_is_unknown() {
        let acknowledged = Outcome::of_acknowledgement(3, 7);
        assert!(matches!(acknowledged, Outcome::Acknowledged { partition, offset }
            if partition.get() == 3 && offset.get() == 7));
        assert!(matches!(Outcome::of_acknowledgement(3, -1), Outcome::Unknown(_)));
    }

    #[test]
    fn the_error_is_named_for_people() {
        let cause = Cause::of_kafka(Code::NotEnoughReplicas);
        assert!(cause.detail.contains("Not enough in-sync replicas"), "{}", cause.detail);
    }
}
