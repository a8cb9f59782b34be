//! How an error looks to a caller: a gRPC status with `google.rpc` details.
//!
//! Every error has an `ErrorInfo` of the domain `tailcast` with a stable reason; where messages were involved, its
//! metadata say under `outcome` whether they are `refused` or `unknown`. Field violations come as `BadRequest`, and
//! `RetryInfo` says when trying again may help.
//!
//! Bound: the details stay under 4 KB, because several gRPC implementations refuse trailers over 8 KB, and then the
//! caller would see nothing at all. What does not fit is counted.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::validation::{Violation, Violations};

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "tailcast";

/// How many bytes of violations a status carries.
const VIOLATIONS_BYTES_MAX: usize = 4_096;

/// What became of the messages of a call that ended with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// They are not in Kafka and will not appear there.
    Refused,
    /// They may appear.
    Unknown,
}

/// An error, before it is a status.
#[derive(Debug)]
pub(crate) struct CallError {
    code: Code,
    reason: &'static str,
    message: String,
    outcome: Option<CallOutcome>,
    retry_after: Option<Duration>,
    violations: Violations,
}

impl CallError {
    /// An error with a stable reason for programs and a message for people.
    pub(crate) fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        let (message, violations) = (message.into(), Violations::default());
        Self { code, reason, message, outcome: None, retry_after: None, violations }
    }

    /// Says what became of the messages.
    pub(crate) fn outcome(self, outcome: CallOutcome) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    /// Says when to try again.
    pub(crate) fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// Says which fields are wrong.
    pub(crate) fn violations(self, violations: Violations) -> Self {
        Self { violations, ..self }
    }

    /// A request that is not valid, which publishes nothing.
    pub(crate) fn invalid(violations: Violations) -> Self {
        let message = match violations.iter().next() {
            Some(first) if violations.iter().len() == 1 => first.to_string(),
            Some(first) => format!("{first} (and {} more)", violations.iter().len() - 1),
            None => "the request is not valid".to_owned(),
        };
        Self::new(Code::InvalidArgument, "INVALID_ARGUMENT", message)
            .outcome(CallOutcome::Refused)
            .violations(violations)
    }

    /// The stable reason.
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    /// The error as tonic sends it.
    pub(crate) fn status(self) -> Status {
        let mut details = ErrorDetails::new();
        let outcome = self.outcome.map(|outcome| match outcome {
            CallOutcome::Refused => "refused",
            CallOutcome::Unknown => "unknown",
        });
        let metadata: HashMap<_, _> =
            outcome.map(|outcome| ("outcome".to_owned(), outcome.to_owned())).into_iter().collect();
        details.set_error_info(self.reason, DOMAIN, metadata);
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        for violation in bounded(&self.violations) {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        Status::with_error_details(self.code, self.message, details)
    }
}

/// The violations that fit, and how many do not.
fn bounded(violations: &Violations) -> Vec<Violation> {
    let mut bytes = 0;
    let fits = |violation: &&Violation| {
        // Four bytes of tags and lengths each.
        bytes += violation.field.len() + violation.description.len() + 4;
        bytes <= VIOLATIONS_BYTES_MAX
    };
    let mut told: Vec<_> = violations.iter().take_while(fits).cloned().collect();
    let left = violations.iter().len() - told.len();
    if left > 0 {
        told.push(Violation::new("messages", format!("and {left} violations more")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_reason_outcome_fields_and_when_to_retry() {
        let violations = [Violation::new("messages[3].topic", "is empty")].into_iter().collect();
        let status = CallError::invalid(violations).retry_after(Duration::from_millis(50)).status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "messages[3].topic: is empty");
        let details = status.get_error_details();
        let info = details.error_info().expect("every error has an ErrorInfo");
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("tailcast", "INVALID_ARGUMENT"));
        assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("refused"));
        let request = details.bad_request().expect("the fields are named");
        assert_eq!(request.field_violations[0].field, "messages[3].topic");
        let retry = details.retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry, Some(Duration::from_millis(50)));
    }

    #[test]
    fn details_stay_small_however_much_is_wrong() {
        let violations =
            (0..500).map(|at| Violation::new("topic", "is empty; it has 1 byte").of_message(at)).collect();
        let status = CallError::invalid(violations).status();
        assert!(status.message().ends_with("(and 499 more)"), "{}", status.message());
        assert!(status.details().len() < 5_000, "{} bytes", status.details().len());
        let details = status.get_error_details();
        let told = &details.bad_request().expect("the fields are named").field_violations;
        let last = told.last().expect("some are told");
        assert_eq!(last.description, format!("and {} violations more", 500 - (told.len() - 1)));
    }
}
