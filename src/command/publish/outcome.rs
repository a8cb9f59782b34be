//! What became of messages, as text and as an exit code.

use std::io::Write;

use tailcast_proto::ingest::v1::{Outcome, Reason, outcome};
use tonic::{Code, Status};

use crate::command::{
    exit::{Exit, Failure},
    output::{Output, Reader, say},
};

/// Counts the outcomes of one run, and prints each.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refused: u64,
    unknown: u64,
    reader_gone: bool,
}

impl Tally {
    /// Counts and prints the outcome of the message that `who` names.
    pub(super) fn count(
        &mut self,
        who: &str,
        outcome: Outcome,
        output: &mut Output<impl Write>,
    ) -> Result<(), Failure> {
        match outcome.result {
            Some(outcome::Result::Acknowledged(at)) => {
                self.acknowledged(&at.topic, at.partition, at.offset, output)?;
            }
            Some(outcome::Result::Refused(refused)) => {
                self.refused += 1;
                say(format_args!("{who} was refused: {}", because(refused.reason(), &refused.detail)));
            }
            Some(outcome::Result::Unknown(unknown)) => {
                self.unknown(who, &because(unknown.reason(), &unknown.detail));
            }
            None => self.unknown(who, "ingest did not say"),
        }
        Ok(())
    }

    /// Prints where an acknowledged message is.
    pub(super) fn acknowledged(
        &mut self,
        topic: &str,
        partition: u32,
        offset: i64,
        output: &mut Output<impl Write>,
    ) -> Result<(), Failure> {
        // Without a reader the messages are still published: only where they are is not told any more.
        if !self.reader_gone {
            let written = output.line(format!("{topic}/{partition}/{offset}").as_bytes())?;
            self.reader_gone = written == Reader::Gone;
        }
        Ok(())
    }

    /// Counts and tells that nobody knows whether a message will appear.
    pub(super) fn unknown(&mut self, who: &str, why: &str) {
        self.unknown += 1;
        say(format_args!("{who} may or may not appear: {why}"));
    }

    /// Hands over what was printed.
    pub(super) fn flush(&mut self, output: &mut Output<impl Write>) -> Result<(), Failure> {
        if !self.reader_gone {
            self.reader_gone = output.flush()? == Reader::Gone;
        }
        Ok(())
    }

    /// Returns the exit code that the outcomes add up to.
    pub(super) fn finish(mut self, output: &mut Output<impl Write>) -> Result<Exit, Failure> {
        self.flush(output)?;
        Ok(if self.refused + self.unknown == 0 { Exit::Done } else { Exit::Refused })
    }
}

/// Says why a call as a whole failed. What ingest says in the message names field and reason already.
pub(super) fn failed_call(status: &Status) -> Failure {
    let exit = match status.code() {
        Code::InvalidArgument => Exit::Usage,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
            Exit::Unavailable
        }
        Code::NotFound | Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            Exit::Refused
        }
        _ => Exit::Internal,
    };
    let code = format!("{:?}", status.code());
    Failure::say(exit, format_args!("ingest answered {code}: {}", status.message()))
}

fn because(reason: Reason, detail: &str) -> String {
    let reason = reason.as_str_name().trim_start_matches("REASON_").to_lowercase().replace('_', " ");
    if detail.is_empty() { reason } else { format!("{reason}: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_in_words_with_its_detail() {
        assert_eq!(because(Reason::UnknownTopic, ""), "unknown topic");
        assert_eq!(because(Reason::TooLarge, "1048577 bytes"), "too large: 1048577 bytes");
    }

    #[test]
    fn a_call_that_failed_ends_with_the_exit_code_of_its_cause() {
        let exit = |code| failed_call(&Status::new(code, "why")).exit();
        assert_eq!(exit(Code::InvalidArgument), Exit::Usage);
        assert_eq!(exit(Code::Unavailable), Exit::Unavailable);
        assert_eq!(exit(Code::ResourceExhausted), Exit::Unavailable);
        assert_eq!(exit(Code::NotFound), Exit::Refused);
        assert_eq!(exit(Code::Internal), Exit::Internal);
    }
}
