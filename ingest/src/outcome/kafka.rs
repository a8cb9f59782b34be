//! The table that maps Kafka's errors to outcomes.
//!
//! An error code alone does not show whether a message may appear (see `tailcast_message_status`).
//! A message is reported as refused only if both the code and librdkafka's status of the message
//! rule that out.

use rdkafka::types::RDKafkaErrorCode as Code;
use tailcast_message_status::MessageStatus;

use super::{Failure, FailureReason, Outcome};

/// The reasons for Kafka's errors. All other errors are `KafkaError`.
const MEANINGS: [(Code, FailureReason); 33] = [
    (Code::UnknownTopic, FailureReason::UnknownTopic),
    (Code::UnknownTopicOrPartition, FailureReason::UnknownTopic),
    (Code::UnknownPartition, FailureReason::UnknownTopic),
    (Code::UnknownTopicId, FailureReason::UnknownTopic),
    (Code::MessageSizeTooLarge, FailureReason::TooLarge),
    (Code::MessageBatchTooLarge, FailureReason::TooLarge),
    (Code::InvalidMessageSize, FailureReason::TooLarge),
    (Code::TopicAuthorizationFailed, FailureReason::NotAuthorized),
    (Code::ClusterAuthorizationFailed, FailureReason::NotAuthorized),
    (Code::Authentication, FailureReason::NotAuthorized),
    (Code::SaslAuthenticationFailed, FailureReason::NotAuthorized),
    (Code::NotEnoughReplicas, FailureReason::NotEnoughReplicas),
    (Code::NotEnoughReplicasAfterAppend, FailureReason::NotEnoughReplicas),
    (Code::InvalidRecord, FailureReason::InvalidRecord),
    (Code::InvalidMessage, FailureReason::InvalidRecord),
    (Code::InvalidTimestamp, FailureReason::InvalidRecord),
    (Code::PolicyViolation, FailureReason::InvalidRecord),
    (Code::InvalidTopic, FailureReason::InvalidRecord),
    (Code::QueueFull, FailureReason::QueueFull),
    (Code::MessageTimedOut, FailureReason::KafkaUnavailable),
    (Code::OperationTimedOut, FailureReason::KafkaUnavailable),
    (Code::RequestTimedOut, FailureReason::KafkaUnavailable),
    (Code::TimedOutQueue, FailureReason::KafkaUnavailable),
    (Code::BrokerTransportFailure, FailureReason::KafkaUnavailable),
    (Code::AllBrokersDown, FailureReason::KafkaUnavailable),
    (Code::Resolve, FailureReason::KafkaUnavailable),
    (Code::BrokerNotAvailable, FailureReason::KafkaUnavailable),
    (Code::LeaderNotAvailable, FailureReason::KafkaUnavailable),
    (Code::NotLeaderForPartition, FailureReason::KafkaUnavailable),
    (Code::NetworkException, FailureReason::KafkaUnavailable),
    (Code::PurgeQueue, FailureReason::KafkaUnavailable),
    (Code::PurgeInflight, FailureReason::KafkaUnavailable),
    // The producer has failed for good and this process drains; another node can accept the
    // message.
    (Code::Fatal, FailureReason::KafkaUnavailable),
];

/// Errors after which a record may be in Kafka, whatever the status of the message: each of them is
/// the answer, or stands for the missing answer, to a request that was sent.
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
    /// The outcome of a failed delivery.
    pub(crate) fn of_failure(code: Code, status: MessageStatus) -> Self {
        let cause = Failure::of_kafka(code);
        match status {
            MessageStatus::NotPersisted if !MAY_BE_WRITTEN.contains(&code) => Self::Refused(cause),
            MessageStatus::NotPersisted | MessageStatus::PossiblyPersisted | MessageStatus::Persisted => {
                Self::Unknown(cause)
            }
        }
    }
}

impl Failure {
    /// The failure for a Kafka error.
    pub(crate) fn of_kafka(code: Code) -> Self {
        let reason = MEANINGS
            .iter()
            .find(|(listed, _)| *listed == code)
            .map_or(FailureReason::KafkaError, |(_, reason)| *reason);
        let detail = match code {
            // librdkafka retries until then, and does not return the errors of earlier attempts.
            Code::MessageTimedOut => "timeout: Kafka did not acknowledge the record within message.timeout.ms".into(),
            // Kafka accepts or rejects whole batches, which librdkafka fills with messages of all
            // callers.
            Code::InvalidRecord => {
                "Kafka rejected this record, or another one in the same Kafka batch, as invalid (for example, \
                 records on a compacted topic need a key)"
                    .into()
            }
            Code::MessageSizeTooLarge => {
                "the record, or its Kafka batch, exceeds Kafka's size limit".into()
            }
            Code::PurgeQueue | Code::PurgeInflight => "this node shut down before Kafka answered".into(),
            Code::QueueFull => "the producer's queue is full; try again".into(),
            _ => format!("{code}").into(),
        };
        Self { reason, detail }
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
            Outcome::Refused(cause) => format!("refused {}", cause.reason.name()),
            Outcome::Unknown(cause) => format!("unknown {}", cause.reason.name()),
        };
        assert_eq!(found, expected, "{code:?} {status:?}");
    }

    #[test]
    fn a_message_never_sent_is_refused() {
        check(Code::MessageTimedOut, NotPersisted, "refused KAFKA_UNAVAILABLE");
        check(Code::PurgeQueue, NotPersisted, "refused KAFKA_UNAVAILABLE");
        check(Code::QueueFull, NotPersisted, "refused QUEUE_FULL");
        check(Code::UnknownTopic, NotPersisted, "refused UNKNOWN_TOPIC");
        check(Code::UnknownPartition, NotPersisted, "refused UNKNOWN_TOPIC");
        check(Code::AllBrokersDown, NotPersisted, "refused KAFKA_UNAVAILABLE");
    }

    #[test]
    fn a_message_that_a_broker_rejected_is_refused() {
        check(Code::MessageSizeTooLarge, NotPersisted, "refused TOO_LARGE");
        check(Code::MessageBatchTooLarge, NotPersisted, "refused TOO_LARGE");
        check(Code::TopicAuthorizationFailed, NotPersisted, "refused NOT_AUTHORIZED");
        check(Code::NotEnoughReplicas, NotPersisted, "refused NOT_ENOUGH_REPLICAS");
        check(Code::InvalidRecord, NotPersisted, "refused INVALID_RECORD");
        check(Code::InvalidDifferentRecord, NotPersisted, "refused KAFKA_ERROR");
        check(Code::UnknownTopicOrPartition, NotPersisted, "refused UNKNOWN_TOPIC");
    }

    #[test]
    fn a_message_sent_and_not_answered_is_unknown() {
        check(Code::MessageTimedOut, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::PurgeInflight, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::BrokerTransportFailure, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
        check(Code::PurgeQueue, PossiblyPersisted, "unknown KAFKA_UNAVAILABLE");
    }

    #[test]
    fn a_rejected_second_attempt_does_not_undo_the_first_one() {
        check(Code::TopicAuthorizationFailed, PossiblyPersisted, "unknown NOT_AUTHORIZED");
        check(Code::NotEnoughReplicas, PossiblyPersisted, "unknown NOT_ENOUGH_REPLICAS");
        check(Code::MessageSizeTooLarge, Persisted, "unknown TOO_LARGE");
    }

    #[test]
    fn an_error_after_the_append_is_unknown_whatever_the_status() {
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
    fn the_error_is_named_for_people() {
        let cause = Failure::of_kafka(Code::NotEnoughReplicas);
        assert!(cause.detail.contains("Not enough in-sync replicas"), "{}", cause.detail);
    }
}
