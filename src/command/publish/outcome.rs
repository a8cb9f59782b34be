//! The outcomes of messages, as text and as an exit code.

use std::{fmt, io::Write};

use tailcast_proto::ingest::v1::{Outcome, Reason, outcome};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    exit::{Exit, Failure},
    output::{Output, Reader, report},
    publisher::NOT_GRPC,
};

/// How a topic is created in the broker of `tailcast dev`. Ingest never creates one.
const IN_DEV: &str = "in `tailcast dev`, by its option --topic NAME";

/// What happened to messages without outcomes, because their call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are not in Kafka and will not appear there.
    Refused,
    /// They may or may not appear.
    Unknown,
}

/// Counts the outcomes of one run, and prints each.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refused: u64,
    unknown: u64,
    reader_gone: bool,
}

impl Tally {
    /// Counts and prints the outcome of a message; `name` is its name in reports.
    pub(super) fn count(
        &mut self,
        name: &str,
        outcome: Outcome,
        output: &mut Output<impl Write>,
    ) -> Result<(), Failure> {
        match outcome.result {
            Some(outcome::Result::Acknowledged(at)) => {
                self.acknowledged(&at.topic, at.partition, at.offset, output)?;
            }
            Some(outcome::Result::Refused(refused)) => {
                self.refused += 1;
                report(format_args!(
                    "{name} was refused: {}",
                    reason_text(refused.reason(), &refused.detail)
                ));
            }
            Some(outcome::Result::Unknown(unknown)) => {
                self.unknown(name, &reason_text(unknown.reason(), &unknown.detail));
            }
            None => self.unknown(name, "ingest returned no outcome"),
        }
        Ok(())
    }

    /// Prints the position of an acknowledged message.
    pub(super) fn acknowledged(
        &mut self,
        topic: &str,
        partition: u32,
        offset: i64,
        output: &mut Output<impl Write>,
    ) -> Result<(), Failure> {
        // Without a reader the messages are still published, and their positions are no longer
        // printed.
        if !self.reader_gone {
            let written = output.line(format!("{topic}/{partition}/{offset}").as_bytes())?;
            self.reader_gone = written == Reader::Gone;
        }
        Ok(())
    }

    /// Counts and reports a message that may or may not appear.
    fn unknown(&mut self, name: &str, why: &str) {
        self.unknown += 1;
        report(format_args!("{name} {}: {why}", Fate::Unknown));
    }

    /// Counts and reports messages without an outcome because their call failed.
    pub(super) fn without_outcome(&mut self, name: &str, fate: Fate, why: &str) {
        match fate {
            Fate::Refused => {
                self.refused += 1;
                report(format_args!("{name} {fate}: {why}"));
            }
            Fate::Unknown => self.unknown(name, why),
        }
    }

    /// Flushes the output.
    pub(super) fn flush(&mut self, output: &mut Output<impl Write>) -> Result<(), Failure> {
        if !self.reader_gone {
            self.reader_gone = output.flush()? == Reader::Gone;
        }
        Ok(())
    }

    /// Returns the exit code that follows from all outcomes.
    pub(super) fn finish(mut self, output: &mut Output<impl Write>) -> Result<Exit, Failure> {
        self.flush(output)?;
        Ok(if self.refused + self.unknown == 0 { Exit::Done } else { Exit::Refused })
    }
}

impl Fate {
    /// Returns the fate of a call's messages: from ingest's error details, and unknown without
    /// these.
    pub(super) fn of(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == "tailcast");
        match info.as_ref().and_then(|info| info.metadata.get("outcome")).map(String::as_str) {
            Some("refused") => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "was refused and will not appear",
            Self::Unknown => "may or may not appear",
        })
    }
}

/// Returns why a call with a single message failed, and the fate of the message.
pub(super) fn failed_publish(status: &Status) -> Failure {
    if let Some(why) = not_grpc(status) {
        return Failure::message(Exit::Usage, why);
    }
    let fate = Fate::of(status);
    let sent = fate == Fate::Unknown;
    Failure::message(exit(status, sent), format_args!("{}; the message {fate}", answer(status)))
}

/// Returns why a stream failed. `sent`: messages had been sent; their fates are reported elsewhere.
pub(super) fn failed_stream(status: &Status, sent: bool) -> Failure {
    match not_grpc(status) {
        Some(why) => Failure::message(Exit::Usage, why),
        None => Failure::message(exit(status, sent), answer(status)),
    }
}

/// Returns the message of a call that failed because the server does not speak gRPC.
fn not_grpc(status: &Status) -> Option<&str> {
    let is_other = status.get_details_error_info().is_some_and(|info| info.reason == NOT_GRPC);
    is_other.then(|| status.message())
}

/// Returns the status as text, without ingest's advice on retrying: the fate of the message
/// follows, and decides that.
fn answer(status: &Status) -> String {
    let mut message = status.message();
    for advice in ["; nothing was published, try again", "; try again"] {
        message = message.strip_suffix(advice).unwrap_or(message);
    }
    let unknown_topic = status.get_details_error_info().is_some_and(|info| info.reason == "UNKNOWN_TOPIC");
    let hint = if unknown_topic { format!(" ({IN_DEV})") } else { String::new() };
    let by_ingest = status.get_details_error_info().is_some_and(|info| info.domain == "tailcast");
    if by_ingest {
        format!("ingest answered {:?}: {message}{hint}", status.code())
    } else {
        message.to_owned()
    }
}

fn exit(status: &Status, sent: bool) -> Exit {
    match status.code() {
        // Exit code 64 promises that nothing was started.
        Code::InvalidArgument if !sent => Exit::Usage,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
            Exit::Unavailable
        }
        Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition => Exit::Refused,
        _ => Exit::Internal,
    }
}

fn reason_text(reason: Reason, detail: &str) -> String {
    if reason == Reason::UnknownTopic {
        return format!("unknown topic; create it first ({IN_DEV})");
    }
    let reason = reason.as_str_name().trim_start_matches("REASON_").to_lowercase().replace('_', " ");
    if detail.is_empty() { reason } else { format!("{reason}: {detail}") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_reason_is_printed_in_words_with_its_detail() {
        assert!(reason_text(Reason::UnknownTopic, "").contains("--topic NAME"));
        assert_eq!(reason_text(Reason::KafkaError, ""), "kafka error");
        assert_eq!(reason_text(Reason::TooLarge, "1048577 bytes"), "too large: 1048577 bytes");
    }

    fn status(code: Code, outcome: Option<&str>) -> Status {
        let metadata = outcome.map(|outcome| ("outcome".to_owned(), outcome.to_owned()));
        let details = ErrorDetails::with_error_info(
            "REASON",
            "tailcast",
            metadata.into_iter().collect::<HashMap<_, _>>(),
        );
        Status::with_error_details(code, "why", details)
    }

    #[test]
    fn a_call_that_failed_ends_with_the_exit_code_of_its_cause() {
        let exit = |code| failed_stream(&Status::new(code, "why"), false).exit();
        assert_eq!(exit(Code::InvalidArgument), Exit::Usage);
        assert_eq!(exit(Code::Unavailable), Exit::Unavailable);
        assert_eq!(exit(Code::ResourceExhausted), Exit::Unavailable);
        assert_eq!(exit(Code::NotFound), Exit::Refused);
        assert_eq!(exit(Code::Internal), Exit::Internal);
    }

    #[test]
    fn a_stream_that_was_refused_half_way_does_not_exit_with_64() {
        // It did, and 64 promises that nothing was started.
        let invalid = Status::invalid_argument("the request is too large");
        assert_eq!(failed_stream(&invalid, true).exit(), Exit::Refused);
        assert_eq!(failed_publish(&invalid).exit(), Exit::Refused);
        assert_eq!(failed_publish(&status(Code::InvalidArgument, Some("refused"))).exit(), Exit::Usage);
    }

    #[test]
    fn a_failed_call_gives_one_piece_of_advice() {
        // "try again" stood beside "may or may not appear".
        let full = Status::resource_exhausted("too many requests; try again");
        let message = failed_publish(&full).to_string();
        assert_eq!(message, "too many requests; the message may or may not appear");
        let details = ErrorDetails::with_error_info(NOT_GRPC, "tailcast", HashMap::new());
        let other = Status::with_error_details(Code::InvalidArgument, "a does not speak gRPC", details);
        assert_eq!(failed_publish(&other).to_string(), "a does not speak gRPC");
        assert_eq!(failed_stream(&other, false).exit(), Exit::Usage);
        let details = ErrorDetails::with_error_info("UNKNOWN_TOPIC", "tailcast", HashMap::new());
        let missing = Status::with_error_details(Code::NotFound, "the topic t does not exist", details);
        assert!(failed_stream(&missing, false).to_string().ends_with(&format!(" ({IN_DEV})")));
    }

    #[test]
    fn a_failed_call_reports_the_fate_of_the_message() {
        // It reported only the cause, and not whether publishing again may repeat the message.
        let message = |code, outcome| failed_publish(&status(code, outcome)).to_string();
        let refused = "ingest answered NotFound: why; the message was refused and will not appear";
        assert_eq!(message(Code::NotFound, Some("refused")), refused);
        let unknown = "ingest answered DeadlineExceeded: why; the message may or may not appear";
        assert_eq!(message(Code::DeadlineExceeded, Some("unknown")), unknown);
        assert_eq!(message(Code::DeadlineExceeded, None), unknown);
        let broken = failed_publish(&Status::unavailable("the connection broke")).to_string();
        assert!(broken.ends_with("the message may or may not appear"), "{broken}");
    }
}
