//! `Publish`: one batch, answered when all outcomes are known.
//!
//! A call is parsed, takes from the in-flight budget, looks up its topics, is enqueued and
//! answered. If its deadline passes before the messages are enqueued, they are refused; later,
//! their outcome is unknown, and they stay in flight.

use std::time::Duration;

use tailcast_proto::ingest::v1;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::{
    budget::{BudgetExceeded, InFlightBudget},
    call_error::{CallError, CallOutcome},
    completion::{CompletedMessage, Completions},
    deadline::Deadline,
    gate::{ArrivingCall, Caller},
    outcome::{Failure, FailureReason, Outcome},
    publisher::{Admitted, Publisher},
    trace::{Propagator, RecordHeaders},
    validation::{MessageLimits, Violation, Violations},
};

/// Retry delay at the in-flight limit: Kafka usually acknowledges messages within this time.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// Retry delay for Kafka's elections and restarts, which take seconds.
const KAFKA_RETRY: Duration = Duration::from_secs(1);

/// Serves unary calls. Clones share its parts.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) publisher: Publisher,
    pub(crate) budget: InFlightBudget,
    pub(crate) limits: MessageLimits,
    /// The deadline of calls whose callers set none.
    pub(crate) deadline: Duration,
}

/// Why a unary call has no outcomes to return.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// The request is invalid; nothing was published.
    Invalid(Violations),
    /// The in-flight limit is reached; nothing was published.
    BudgetExceeded,
    /// The deadline passed before anything was enqueued.
    LateToBegin,
    /// The deadline passed before Kafka answered.
    LateAnswer,
    /// Kafka acknowledged no message. The failures are in the order of the messages.
    NothingAcknowledged(Vec<(CallOutcome, Failure)>),
}

impl Calls {
    /// Publishes a batch. If the future is dropped, messages that were enqueued stay in flight.
    pub(crate) async fn publish(
        &self,
        mut request: Request<v1::PublishRequest>,
    ) -> Result<v1::PublishResponse, PublishError> {
        let Caller { principal, deadline, trace } = ArrivingCall::begin(&mut request);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(Instant::now(), self.deadline));
        let mut records = self.limits.batch(request.into_inner().messages).map_err(PublishError::Invalid)?;
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        for record in &mut records {
            Propagator.inject(&trace, RecordHeaders::new(record, self.limits.message_bytes_max));
        }
        let records: Vec<_> = (0..).zip(records).collect();

        let permit = self
            .budget
            .take(Admitted::cost(&records))
            .map_err(|BudgetExceeded| PublishError::BudgetExceeded)?;
        let admitted = deadline.limit(self.publisher.admit(&principal, records)).await;
        let admitted = admitted.ok_or(PublishError::LateToBegin)?;
        let completions = Completions::of_call(topics.len());
        self.publisher.send(&completions, permit, admitted);
        deadline.limit(completions.ready()).await.ok_or(PublishError::LateAnswer)?;

        let outcomes = in_order(completions.take());
        if let Some(failed) = nothing_acknowledged(&outcomes) {
            return Err(PublishError::NothingAcknowledged(failed));
        }
        let outcomes =
            outcomes.iter().zip(&topics).map(|(outcome, topic)| outcome.wire(topic.as_str())).collect();
        Ok(v1::PublishResponse { outcomes })
    }
}

/// Returns the outcomes in the order of the messages.
fn in_order(mut completed: Vec<CompletedMessage>) -> Vec<Outcome> {
    completed.sort_unstable_by_key(|done| done.sequence);
    completed.into_iter().map(|done| done.outcome).collect()
}

/// Returns the failure of each message, if none was acknowledged.
fn nothing_acknowledged(outcomes: &[Outcome]) -> Option<Vec<(CallOutcome, Failure)>> {
    let failed = outcomes.iter().map(|outcome| match outcome {
        Outcome::Acknowledged { .. } => None,
        Outcome::Refused(cause) => Some((CallOutcome::Refused, cause.clone())),
        Outcome::Unknown(cause) => Some((CallOutcome::Unknown, cause.clone())),
    });
    failed.collect()
}

impl From<PublishError> for CallError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid(violations) => Self::invalid(violations),
            PublishError::BudgetExceeded => Self::new(
                Code::ResourceExhausted,
                "IN_FLIGHT_BOUND",
                "in-flight limit reached: too many messages are waiting for Kafka; nothing was published, try again",
            )
            .outcome(CallOutcome::Refused)
            .retry_after(FULL_RETRY),
            PublishError::LateToBegin => Self::new(
                Code::DeadlineExceeded,
                "DEADLINE",
                "deadline exceeded before the topic was looked up; nothing was published",
            )
            .outcome(CallOutcome::Refused),
            PublishError::LateAnswer => Self::new(
                Code::DeadlineExceeded,
                "DEADLINE",
                "deadline exceeded before Kafka answered; the messages may still appear",
            )
            .outcome(CallOutcome::Unknown),
            PublishError::NothingAcknowledged(failed) => of_failures(failed),
        }
    }
}

/// The error of a batch of which no message was acknowledged. If the outcome of any message is
/// unknown, that of the call is. Otherwise the call has the reason of its first message. The
/// details list the reason of each message.
fn of_failures(failed: Vec<(CallOutcome, Failure)>) -> CallError {
    let unknown = failed.iter().find(|(outcome, _)| *outcome == CallOutcome::Unknown);
    let Some((outcome, cause)) = unknown.or_else(|| failed.first()).cloned() else {
        return CallError::new(Code::Internal, "NO_OUTCOME", "the batch has no outcome")
            .outcome(CallOutcome::Unknown);
    };
    let error =
        CallError::new(code_of(outcome, cause.reason), cause.reason.name(), cause.detail).outcome(outcome);
    // Only the caller can decide whether to repeat messages with an unknown outcome, so there is no
    // retry delay.
    let error = match (outcome, cause.reason) {
        (CallOutcome::Refused, FailureReason::QueueFull) => error.retry_after(FULL_RETRY),
        (CallOutcome::Refused, FailureReason::KafkaUnavailable | FailureReason::NotEnoughReplicas) => {
            error.retry_after(KAFKA_RETRY)
        }
        _ => error,
    };
    let violation = |(index, (_, cause)): (usize, (CallOutcome, Failure))| {
        let field = match cause.reason {
            FailureReason::UnknownTopic | FailureReason::NotAuthorized => format!("messages[{index}].topic"),
            FailureReason::TooLarge => format!("messages[{index}].value"),
            _ => format!("messages[{index}]"),
        };
        Violation::new(field, cause.detail)
    };
    error.violations(failed.into_iter().enumerate().map(violation).collect())
}

fn code_of(outcome: CallOutcome, reason: FailureReason) -> Code {
    match (outcome, reason) {
        (CallOutcome::Unknown, _) => Code::Unavailable,
        (CallOutcome::Refused, FailureReason::UnknownTopic) => Code::NotFound,
        (CallOutcome::Refused, FailureReason::NotAuthorized | FailureReason::PermissionDenied) => {
            Code::PermissionDenied
        }
        (
            CallOutcome::Refused,
            FailureReason::TooLarge | FailureReason::InvalidRecord | FailureReason::InvalidArgument,
        ) => Code::InvalidArgument,
        (CallOutcome::Refused, FailureReason::QueueFull) => Code::ResourceExhausted,
        (CallOutcome::Refused, FailureReason::KafkaUnavailable | FailureReason::NotEnoughReplicas) => {
            Code::Unavailable
        }
        (CallOutcome::Refused, FailureReason::KafkaError) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[track_caller]
    fn check(outcomes: &[Outcome], expected: Option<(Code, &str, &str)>) {
        let status = nothing_acknowledged(outcomes)
            .map(|failed| CallError::from(PublishError::NothingAcknowledged(failed)).status());
        let found = status.map(|status| {
            let details = status.get_error_details();
            let info = details.error_info().expect("every error has an ErrorInfo").clone();
            let outcome = info.metadata.get("outcome").cloned().unwrap_or_default();
            let named = details.bad_request().map_or(0, |request| request.field_violations.len());
            assert_eq!(named, outcomes.len(), "every message is named");
            (status.code(), info.reason, outcome)
        });
        let expected = expected.map(|(code, reason, outcome)| (code, reason.to_owned(), outcome.to_owned()));
        assert_eq!(found, expected);
    }

    fn refused(reason: FailureReason) -> Outcome {
        Outcome::Refused(Failure::new(reason, "a test"))
    }

    fn unknown(reason: FailureReason) -> Outcome {
        Outcome::Unknown(Failure::new(reason, "a test"))
    }

    #[test]
    fn a_batch_with_an_acknowledged_message_has_outcomes_and_no_error() {
        check(&[refused(FailureReason::UnknownTopic), Outcome::of_acknowledgement(0, 0)], None);
        check(&[unknown(FailureReason::KafkaUnavailable), Outcome::of_acknowledgement(0, 0)], None);
    }

    #[test]
    fn an_unreachable_kafka_is_unavailable_and_says_whether_the_outcome_is_known() {
        check(
            &[refused(FailureReason::KafkaUnavailable), refused(FailureReason::KafkaUnavailable)],
            Some((Code::Unavailable, "KAFKA_UNAVAILABLE", "refused")),
        );
        check(
            &[refused(FailureReason::KafkaUnavailable), unknown(FailureReason::KafkaUnavailable)],
            Some((Code::Unavailable, "KAFKA_UNAVAILABLE", "unknown")),
        );
        check(
            &[refused(FailureReason::UnknownTopic), unknown(FailureReason::KafkaError)],
            Some((Code::Unavailable, "KAFKA_ERROR", "unknown")),
        );
    }

    #[test]
    fn a_refused_batch_has_the_code_of_its_reason() {
        check(&[refused(FailureReason::UnknownTopic)], Some((Code::NotFound, "UNKNOWN_TOPIC", "refused")));
        check(
            &[refused(FailureReason::NotAuthorized)],
            Some((Code::PermissionDenied, "NOT_AUTHORIZED", "refused")),
        );
        check(
            &[refused(FailureReason::PermissionDenied)],
            Some((Code::PermissionDenied, "PERMISSION_DENIED", "refused")),
        );
        check(&[refused(FailureReason::TooLarge)], Some((Code::InvalidArgument, "TOO_LARGE", "refused")));
        check(
            &[refused(FailureReason::InvalidRecord)],
            Some((Code::InvalidArgument, "INVALID_RECORD", "refused")),
        );
        check(
            &[refused(FailureReason::NotEnoughReplicas)],
            Some((Code::Unavailable, "NOT_ENOUGH_REPLICAS", "refused")),
        );
        check(&[refused(FailureReason::QueueFull)], Some((Code::ResourceExhausted, "QUEUE_FULL", "refused")));
        check(&[refused(FailureReason::KafkaError)], Some((Code::Internal, "KAFKA_ERROR", "refused")));
    }

    #[test]
    fn a_full_node_says_when_to_retry() {
        let details = CallError::from(PublishError::BudgetExceeded).status().get_error_details();
        assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), Some(FULL_RETRY));
    }

    #[test]
    fn only_what_is_refused_is_advised_to_be_retried() {
        let retry = |outcome| {
            let failed = vec![(outcome, Failure::new(FailureReason::KafkaUnavailable, "a test"))];
            let status = CallError::from(PublishError::NothingAcknowledged(failed)).status();
            status.get_error_details().retry_info().and_then(|retry| retry.retry_delay)
        };
        assert_eq!(retry(CallOutcome::Refused), Some(KAFKA_RETRY));
        assert_eq!(retry(CallOutcome::Unknown), None);
    }

    #[test]
    fn outcomes_are_in_the_order_of_the_messages() {
        let done =
            |sequence, offset| CompletedMessage { sequence, outcome: Outcome::of_acknowledgement(0, offset) };
        assert_eq!(
            in_order(vec![done(1, 11), done(0, 10)]),
            [Outcome::of_acknowledgement(0, 10), Outcome::of_acknowledgement(0, 11)]
        );
    }
}
