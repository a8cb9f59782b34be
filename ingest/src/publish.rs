//! `Publish`: one batch, answered when the outcome of each message is known.
//!
//! The way of a call: validated, given its part of the budget, looked up, enqueued, answered. Until it is enqueued, a
//! deadline ends it refused; afterwards unknown, and its messages go their way without it.

use std::time::Duration;

use tailcast_proto::ingest::v1;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::{
    budget::{Budget, Full},
    deadline::Deadline,
    delivery::{Completed, Completions},
    gate::{Arrival, Caller},
    outcome::{Cause, Outcome, Why},
    publisher::{Admitted, Publisher},
    refusal::{Ending, Refusal},
    trace::{Propagator, RecordHeaders},
    validation::{Limits, Violation, Violations},
};

/// Messages usually wait this long at most; by then some of what was in the way has been answered.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// Kafka's elections and restarts take seconds.
const KAFKA_RETRY: Duration = Duration::from_secs(1);

/// What unary calls need. Clones share it.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) publisher: Publisher,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    /// For calls that have no deadline.
    pub(crate) deadline: Duration,
}

/// Why a unary call has no outcomes to give.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// The request is not valid; nothing was published.
    Invalid(Violations),
    /// There is too much in flight; nothing was published.
    Full,
    /// The deadline passed before anything was enqueued.
    LateToBegin,
    /// The deadline passed before Kafka answered.
    LateAnswer,
    /// Kafka acknowledged nothing, for these reasons, in the order of the messages.
    NothingAcknowledged(Vec<(Ending, Cause)>),
}

impl Calls {
    /// Publishes a batch. Dropping the future leaves to Kafka what has been enqueued.
    pub(crate) async fn publish(
        &self,
        mut request: Request<v1::PublishRequest>,
    ) -> Result<v1::PublishResponse, PublishError> {
        let Caller { principal, deadline, trace } = Arrival::begin(&mut request);
        let deadline = deadline.unwrap_or_else(|| Deadline::after(Instant::now(), self.deadline));
        let mut records = self.limits.batch(request.into_inner().messages).map_err(PublishError::Invalid)?;
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        for record in &mut records {
            Propagator.inject(&trace, RecordHeaders::new(record, self.limits.message_bytes_max));
        }
        let records: Vec<_> = (0..).zip(records).collect();

        let permit = self.budget.take(Admitted::cost(&records)).map_err(|Full| PublishError::Full)?;
        let admitted = deadline.limit(self.publisher.admit(&principal, records)).await;
        let admitted = admitted.ok_or(PublishError::LateToBegin)?;
        let completions = Completions::of_call(topics.len());
        self.publisher.send(&completions, permit, admitted);
        deadline.limit(completions.gathered()).await.ok_or(PublishError::LateAnswer)?;

        let outcomes = in_order(completions.take());
        if let Some(failed) = nothing_acknowledged(&outcomes) {
            return Err(PublishError::NothingAcknowledged(failed));
        }
        let outcomes =
            outcomes.iter().zip(&topics).map(|(outcome, topic)| outcome.wire(topic.as_str())).collect();
        Ok(v1::PublishResponse { outcomes })
    }
}

/// The outcomes in the order of the messages.
fn in_order(mut completed: Vec<Completed>) -> Vec<Outcome> {
    completed.sort_unstable_by_key(|done| done.sequence);
    completed.into_iter().map(|done| done.outcome).collect()
}

/// How each message failed, if none was acknowledged.
fn nothing_acknowledged(outcomes: &[Outcome]) -> Option<Vec<(Ending, Cause)>> {
    let failed = outcomes.iter().map(|outcome| match outcome {
        Outcome::Acknowledged { .. } => None,
        Outcome::Refused(cause) => Some((Ending::Refused, cause.clone())),
        Outcome::Unknown(cause) => Some((Ending::Unknown, cause.clone())),
    });
    failed.collect()
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid(violations) => Self::invalid(violations),
            PublishError::Full => Self::new(
                Code::ResourceExhausted,
                "IN_FLIGHT_BOUND",
                "as many messages wait for Kafka as this node holds; nothing was published, try again",
            )
            .ending(Ending::Refused)
            .retry_after(FULL_RETRY),
            PublishError::LateToBegin => Self::new(
                Code::DeadlineExceeded,
                "DEADLINE",
                "the deadline passed before the topic could be looked up; nothing was published",
            )
            .ending(Ending::Refused),
            PublishError::LateAnswer => Self::new(
                Code::DeadlineExceeded,
                "DEADLINE",
                "the deadline passed before Kafka answered; the messages may still appear",
            )
            .ending(Ending::Unknown),
            PublishError::NothingAcknowledged(failed) => of_failures(failed),
        }
    }
}

/// One status for a batch of which nothing was acknowledged. If any message may appear, the caller has to treat the batch
/// as unknown; otherwise the first message's reason speaks for all, and each message's own is among the details.
fn of_failures(failed: Vec<(Ending, Cause)>) -> Refusal {
    let unknown = failed.iter().find(|(ending, _)| *ending == Ending::Unknown);
    let Some((ending, cause)) = unknown.or_else(|| failed.first()).cloned() else {
        return Refusal::new(Code::Internal, "NO_OUTCOME", "the batch has no outcome")
            .ending(Ending::Unknown);
    };
    let refusal = Refusal::new(code_of(ending, cause.why), cause.why.word(), cause.detail).ending(ending);
    // Whether an unknown outcome may be repeated is the caller's to decide, so that one has no advice.
    let refusal = match (ending, cause.why) {
        (Ending::Refused, Why::QueueFull) => refusal.retry_after(FULL_RETRY),
        (Ending::Refused, Why::KafkaUnavailable | Why::NotEnoughReplicas) => refusal.retry_after(KAFKA_RETRY),
        _ => refusal,
    };
    let violation = |(index, (_, cause)): (usize, (Ending, Cause))| {
        let field = match cause.why {
            Why::UnknownTopic | Why::NotAuthorized => format!("messages[{index}].topic"),
            Why::TooLarge => format!("messages[{index}].value"),
            _ => format!("messages[{index}]"),
        };
        Violation::new(field, cause.detail)
    };
    refusal.violations(failed.into_iter().enumerate().map(violation).collect())
}

fn code_of(ending: Ending, why: Why) -> Code {
    match (ending, why) {
        (Ending::Unknown, _) => Code::Unavailable,
        (Ending::Refused, Why::UnknownTopic) => Code::NotFound,
        (Ending::Refused, Why::NotAuthorized | Why::PermissionDenied) => Code::PermissionDenied,
        (Ending::Refused, Why::TooLarge | Why::InvalidRecord | Why::InvalidArgument) => Code::InvalidArgument,
        (Ending::Refused, Why::QueueFull) => Code::ResourceExhausted,
        (Ending::Refused, Why::KafkaUnavailable | Why::NotEnoughReplicas) => Code::Unavailable,
        (Ending::Refused, Why::KafkaError) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[track_caller]
    fn check(outcomes: &[Outcome], expected: Option<(Code, &str, &str)>) {
        let status = nothing_acknowledged(outcomes)
            .map(|failed| Refusal::from(PublishError::NothingAcknowledged(failed)).status());
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

    fn refused(why: Why) -> Outcome {
        Outcome::Refused(Cause::new(why, "a test"))
    }

    fn unknown(why: Why) -> Outcome {
        Outcome::Unknown(Cause::new(why, "a test"))
    }

    #[test]
    fn a_batch_with_an_acknowledged_message_has_outcomes_and_no_error() {
        check(&[refused(Why::UnknownTopic), Outcome::of_acknowledgement(0, 0)], None);
        check(&[unknown(Why::KafkaUnavailable), Outcome::of_acknowledgement(0, 0)], None);
    }

    #[test]
    fn an_unreachable_kafka_is_unavailable_and_says_whether_the_outcome_is_known() {
        check(
            &[refused(Why::KafkaUnavailable), refused(Why::KafkaUnavailable)],
            Some((Code::Unavailable, "KAFKA_UNAVAILABLE", "refused")),
        );
        check(
            &[refused(Why::KafkaUnavailable), unknown(Why::KafkaUnavailable)],
            Some((Code::Unavailable, "KAFKA_UNAVAILABLE", "unknown")),
        );
        check(
            &[refused(Why::UnknownTopic), unknown(Why::KafkaError)],
            Some((Code::Unavailable, "KAFKA_ERROR", "unknown")),
        );
    }

    #[test]
    fn a_refused_batch_has_the_code_of_its_reason() {
        check(&[refused(Why::UnknownTopic)], Some((Code::NotFound, "UNKNOWN_TOPIC", "refused")));
        check(&[refused(Why::NotAuthorized)], Some((Code::PermissionDenied, "NOT_AUTHORIZED", "refused")));
        check(
            &[refused(Why::PermissionDenied)],
            Some((Code::PermissionDenied, "PERMISSION_DENIED", "refused")),
        );
        check(&[refused(Why::TooLarge)], Some((Code::InvalidArgument, "TOO_LARGE", "refused")));
        check(&[refused(Why::InvalidRecord)], Some((Code::InvalidArgument, "INVALID_RECORD", "refused")));
        check(
            &[refused(Why::NotEnoughReplicas)],
            Some((Code::Unavailable, "NOT_ENOUGH_REPLICAS", "refused")),
        );
        check(&[refused(Why::QueueFull)], Some((Code::ResourceExhausted, "QUEUE_FULL", "refused")));
        check(&[refused(Why::KafkaError)], Some((Code::Internal, "KAFKA_ERROR", "refused")));
    }

    #[test]
    fn a_full_node_says_when_to_retry() {
        let details = Refusal::from(PublishError::Full).status().get_error_details();
        assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), Some(FULL_RETRY));
    }

    #[test]
    fn only_what_is_refused_is_advised_to_be_retried() {
        let retry = |ending| {
            let failed = vec![(ending, Cause::new(Why::KafkaUnavailable, "a test"))];
            let status = Refusal::from(PublishError::NothingAcknowledged(failed)).status();
            status.get_error_details().retry_info().and_then(|retry| retry.retry_delay)
        };
        assert_eq!(retry(Ending::Refused), Some(KAFKA_RETRY));
        assert_eq!(retry(Ending::Unknown), None);
    }

    #[test]
    fn outcomes_are_in_the_order_of_the_messages() {
        let done = |sequence, offset| Completed { sequence, outcome: Outcome::of_acknowledgement(0, offset) };
        assert_eq!(
            in_order(vec![done(1, 11), done(0, 10)]),
            [Outcome::of_acknowledgement(0, 10), Outcome::of_acknowledgement(0, 11)]
        );
    }
}
