//! Which lines were read, which wait to be sent, and which have no outcome yet.
//!
//! Plain code: the stream and standard input are its caller's.

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
    output::{Output, say},
};

/// Which lines of one run are where.
pub(super) struct Ledger<'a, W: Write> {
    topic: &'a str,
    /// The line that is read next, counted from 1.
    next: u64,
    /// The first line without an outcome.
    unsettled: u64,
    /// The request that waits for room in the stream.
    waiting: Option<PublishStreamRequest>,
    /// Whether standard input may have more lines.
    open: bool,
    /// Whether a line was no message, which ended the input.
    broken: bool,
    /// Whether a person ended the run before the input had ended.
    interrupted: bool,
    not_before: Instant,
    tally: Tally,
    output: &'a mut Output<W>,
}

/// The numbers of the first and the last line of some.
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

    /// When ingest wants more lines.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Returns whether a request waits for room in the stream.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes the request that waits.
    pub(super) fn take_waiting(&mut self) -> Option<PublishStreamRequest> {
        self.waiting.take()
    }

    /// Returns whether there may be more lines and there is room for them.
    pub(super) fn may_read(&self) -> bool {
        self.open && self.waiting.is_none() && self.next - self.unsettled < UNSETTLED_MAX
    }

    /// Returns whether every line is sent and there will be no more.
    pub(super) fn has_sent_all(&self) -> bool {
        !self.open && self.waiting.is_none()
    }

    /// Takes lines to send. None: the input has ended.
    pub(super) fn read(&mut self, lines: Vec<Result<Message, LineError>>) {
        self.open = !lines.is_empty();
        let mut messages = Vec::with_capacity(lines.len());
        for line in lines {
            match line {
                Ok(message) => messages.push(message),
                Err(error) => {
                    say(format_args!("{}; nothing after it is published", anyhow::Error::new(error)));
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

    /// Reads no more. A request that waits is not sent any more.
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

    /// Ends the run after the stream has ended with `ended`. A line without an outcome may or may not appear, unless `ended`
    /// has its fate.
    pub(super) fn finish(mut self, ended: Result<(), Status>) -> Result<Exit, Failure> {
        let sent = self.sent();
        let unsettled = self.unsettled();
        if let Some(range) = &unsettled {
            let lines = if range.0 == range.1 { "line" } else { "lines" };
            let who = format!("{lines} {range}");
            let fate = ended.as_ref().err().map_or(Fate::Unknown, Fate::of);
            let why =
                if self.interrupted { "interrupted" } else { "the stream ended before the outcome came" };
            self.tally.left(&who, fate, why);
        }
        if self.interrupted {
            say(match sent - 1 {
                0 => "interrupted; nothing was published".to_owned(),
                last => format!("interrupted after line {last}; no line after it was published"),
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
                Err(Failure::say(Exit::Unavailable, "ingest ended the stream before the last outcome"))
            }
            (true, true) => Ok(if sent { Exit::Refused } else { Exit::Usage }),
            (true, false) => Ok(exit),
        }
    }

    /// The first line that was not sent.
    fn sent(&self) -> u64 {
        self.waiting.as_ref().map_or(self.next, |unsent| unsent.first_sequence)
    }

    /// The lines that were sent and have no outcome.
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
        let who = format!("line {}", failure.sequence);
        self.tally.count(&who, failure.outcome.unwrap_or_default(), self.output)?;
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
