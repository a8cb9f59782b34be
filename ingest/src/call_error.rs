//! The error of a call: a gRPC status with `google.rpc` details.
//!
//! Every error has an `ErrorInfo` with the domain `tailcast` and a stable reason. If the call had
//! messages, its metadata entry `outcome` is `refused` or `unknown`. Invalid fields are listed in
//! `BadRequest`, and `RetryInfo` is present if a retry may succeed.
//!
//! Bound: the details stay under 4 KB, because several gRPC implementations reject trailers over 8
//! KB, and the caller would then see no error at all. Violations that do not fit are counted.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::validation::{Violation, Violations};

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "tailcast";

/// The maximum size of the violations in a status, in bytes.
const VIOLATIONS_BYTES_MAX: usize = 4_096;

/// The outcome of the messages of a call that ended with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The messages are not in Kafka and will not appear there.
    Refused,
    /// The messages may appear.
    Unknown,
}

/// The error of a call, before it becomes a status.
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

    /// Sets the outcome of the messages.
    pub(crate) fn outcome(self, outcome: CallOutcome) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    /// Sets the time after which a retry may succeed.
    pub(crate) fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// Sets the invalid fields.
    pub(crate) fn violations(self, violations: Violations) -> Self {
        Self { violations, ..self }
    }

    /// An invalid request, of which nothing was published.
    pub(crate) fn invalid(violations: Violations) -> Self {
        let message = match violations.iter().next() {
            Some(first) if violations.iter().len() == 1 => first.to_string(),
            Some(first) => format!("{first} (and {} more)", violations.iter().len() - 1),
            None => "the request is invalid".to_owned(),
        };
        Self::new(Code::InvalidArgument, "INVALID_ARGUMENT", message)
            .outcome(CallOutcome::Refused)
            .violations(violations)
    }

    /// Returns the stable reason.
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the error as a gRPC status.
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

/// Returns the violations that fit, followed by the number of the others.
fn bounded(violations: &Violations) -> Vec<Violation> {
    let mut bytes = 0;
    let fits = |violation: &&Violation| {
        // Four bytes of tags and lengths each.
        bytes += violation.field.len() + violation.description.len() + 4;
        bytes <= VIOLATIONS_BYTES_MAX
    };
    let mut fitting: Vec<_> = violations.iter().take_while(fits).cloned().collect();
    let left = violations.iter().len() - fitting.len();
    if left > 0 {
        fitting.push(Violation::new("messages", format!("and {left} more violations")));
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_reason_outcome_fields_and_retry_delay() {
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
        let listed = &details.bad_request().expect("the fields are named").field_violations;
        let last = listed.last().expect("some are listed");
        assert_eq!(last.description, format!("and {} more violations", 500 - (listed.len() - 1)));
    }
}
