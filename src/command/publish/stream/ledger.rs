//! The state of each line: read, about to be sent, or sent and without an outcome.
//!
//! Plain code: the caller owns the stream and standard input.

use std::{fmt, io::Write, time::Duration};

use tailcast_proto::ingest::v1::{
    AckRange, Failure as Unacknowledged, Message, PublishStreamRequest, PublishStreamResponse,
};
use tokio::time::Instant;
use tonic::Status;

use super::UNSETTLED_MAX;
use crate::{
    command::publish::{
        lines::LineError,
        outcome::{Fate, Tally, failed_stream},
    },
    exit::{Exit, Failure},
    output::{Output, report},
};

/// The state of the lines of one run.
pub(super) struct Ledger<'a, W: Write> {
    topic: &'a str,
    /// The next line to read, counted from 1.
    next: u64,
    /// The first line without an outcome.
    unsettled: u64,
    /// The request that is next to be sent.
    waiting: Option<PublishStreamRequest>,
    /// Whether standard input may have more lines.
    open: bool,
    /// Whether an invalid line ended the input.
    broken: bool,
    /// Whether the run was interrupted before the end of the input.
    interrupted: bool,
    not_before: Instant,
    tally: Tally,
    output: &'a mut Output<W>,
}

/// The first and the last number of consecutive lines.
struct Range(u64, u64);

impl<'a, W: Write> Ledger<'a, W> {
    /// Starts without lines. The first request has no messages and sets the options of the stream.
    pub(super) fn new(topic: &'a str, output: &'a mut Output<W>) -> Self {
        let first = PublishStreamRequest { first_sequence: 1, messages: Vec::new(), want_positions: true };
        Self {
            topic,
            next: 1,
            unsettled: 1,
            waiting: Some(first),
            open: true,
            broken: false,
            interrupted: false,
            not_before: Instant::now(),
            tally: Tally::default(),
            output,
        }
    }

    /// Returns when ingest accepts more lines.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Returns whether there is a request to send.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes the request to send.
    pub(super) fn take_waiting(&mut self) -> Option<PublishStreamRequest> {
        self.waiting.take()
    }

    /// Returns whether more lines may be read.
    pub(super) fn may_read(&self) -> bool {
        self.open && self.waiting.is_none() && self.next - self.unsettled < UNSETTLED_MAX
    }

    /// Returns whether all lines are sent and the input has ended.
    pub(super) fn has_sent_all(&self) -> bool {
        !self.open && self.waiting.is_none()
    }

    /// Adds lines to send; none: the input has ended.
    pub(super) fn read(&mut self, lines: Vec<Result<Message, LineError>>) {
        self.open = !lines.is_empty();
        let mut messages = Vec::with_capacity(lines.len());
        for line in lines {
            match line {
                Ok(message) => messages.push(message),
                Err(error) => {
                    report(format_args!("{}; no later line is published", anyhow::Error::new(error)));
                    (self.open, self.broken) = (false, true);
                    break;
                }
            }
        }
        if !messages.is_empty() {
            let first_sequence = self.next;
            self.next += messages.len() as u64;
            self.waiting = Some(PublishStreamRequest { first_sequence, messages, want_positions: true });
        }
    }

    /// Ends the input. A request that is not sent yet is dropped.
    pub(super) fn interrupt(&mut self) {
        if let Some(unsent) = self.waiting.take() {
            self.next = unsent.first_sequence;
        }
        (self.open, self.interrupted) = (false, true);
    }

    /// Prints the outcomes of an answer, in the order of their lines.
    pub(super) fn settle(&mut self, answer: PublishStreamResponse) -> Result<(), Failure> {
        if answer.throttle_ms > 0 {
            self.not_before = Instant::now() + Duration::from_millis(answer.throttle_ms.into());
        }
        let mut failures = answer.failures.into_iter().peekable();
        for range in answer.acks {
            while let Some(failure) = failures.next_if(|failure| failure.sequence < range.first_sequence) {
                self.fail(failure)?;
            }
            self.acknowledge(&range)?;
        }
        for failure in failures {
            self.fail(failure)?;
        }
        self.tally.flush(self.output)
    }

    /// Ends the run after the stream has ended with `ended`. Lines without an outcome have the fate
    /// in `ended`, or an unknown one.
    pub(super) fn finish(mut self, ended: Result<(), Status>) -> Result<Exit, Failure> {
        let sent = self.sent();
        let unsettled = self.unsettled();
        if let Some(range) = &unsettled {
            let lines = if range.0 == range.1 { "line" } else { "lines" };
            let name = format!("{lines} {range}");
            let fate = ended.as_ref().err().map_or(Fate::Unknown, Fate::of);
            let why =
                if self.interrupted { "interrupted" } else { "the stream ended before the outcome came" };
            self.tally.without_outcome(&name, fate, why);
        }
        if self.interrupted {
            report(match sent - 1 {
                0 => "interrupted; nothing was published".to_owned(),
                last => format!("interrupted after line {last}; no later line was published"),
            });
        }
        let complete = unsettled.is_none() && self.has_sent_all();
        let exit = self.tally.finish(self.output)?;
        let sent = sent > 1;
        ended.map_err(|status| failed_stream(&status, sent))?;
        if self.interrupted {
            return Ok(Exit::Refused);
        }
        match (complete, self.broken) {
            (false, _) => {
                Err(Failure::message(Exit::Unavailable, "ingest ended the stream before the last outcome"))
            }
            (true, true) => Ok(if sent { Exit::Refused } else { Exit::Usage }),
            (true, false) => Ok(exit),
        }
    }

    /// Returns the first line that was not sent.
    fn sent(&self) -> u64 {
        self.waiting.as_ref().map_or(self.next, |unsent| unsent.first_sequence)
    }

    /// Returns the lines that were sent and have no outcome.
    fn unsettled(&self) -> Option<Range> {
        (self.sent() > self.unsettled).then(|| Range(self.unsettled, self.sent() - 1))
    }

    fn acknowledge(&mut self, range: &AckRange) -> Result<(), Failure> {
        for (&partition, &offset) in range.partitions.iter().zip(&range.offsets) {
            self.tally.acknowledged(self.topic, partition, offset, self.output)?;
        }
        self.unsettled = self.unsettled.max(range.last_sequence.saturating_add(1));
        Ok(())
    }

    fn fail(&mut self, failure: Unacknowledged) -> Result<(), Failure> {
        let name = format!("line {}", failure.sequence);
        self.tally.count(&name, failure.outcome.unwrap_or_default(), self.output)?;
        self.unsettled = self.unsettled.max(failure.sequence.saturating_add(1));
        Ok(())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{} to {}", self.0, self.1) }
    }
}

#[cfg(test)]
mod tests;
