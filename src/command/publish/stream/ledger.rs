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
use crate::command::{
    exit::{Exit, Failure},
    output::{Output, say},
    publish::{
        lines::LineError,
        outcome::{Fate, Tally, failed_stream},
    },
};

/// Which lines of one run are where.
pub(super) struct Ledger<'a, W: Write> {
    topic: &'a str,
    /// The line that is read next, counted from 1.
    next: u64,
    /// The first line without an outcome.
    unsettled: u64,
    /// What waits for room in the stream.
    waiting: Option<PublishStreamRequest>,
    /// Whether standard input may have more lines.
    open: bool,
    /// Whether a line was no message, which ended the input.
    broken: bool,
    not_before: Instant,
    tally: Tally,
    output: &'a mut Output<W>,
}

/// The numbers of the first and the last line of some.
struct Range(u64, u64);

impl<'a, W: Write> Ledger<'a, W> {
    /// Nothing is read yet. What waits is the request that says what holds for the stream.
    pub(super) fn new(topic: &'a str, output: &'a mut Output<W>) -> Self {
        let first = PublishStreamRequest { first_sequence: 1, messages: Vec::new(), want_positions: true };
        Self {
            topic,
            next: 1,
            unsettled: 1,
            waiting: Some(first),
            open: true,
            broken: false,
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

    /// Ends the run, which the stream did with `ended`: a line without an outcome may or may not appear, unless that says.
    pub(super) fn finish(mut self, ended: Result<(), Status>) -> Result<Exit, Failure> {
        let sent = self.waiting.as_ref().map_or(self.next, |unsent| unsent.first_sequence);
        let unsettled = sent.saturating_sub(self.unsettled);
        if unsettled > 0 {
            let lines = if unsettled == 1 { "line" } else { "lines" };
            let who = format!("{lines} {}", Range(self.unsettled, sent - 1));
            let fate = ended.as_ref().err().map_or(Fate::Unknown, Fate::of);
            self.tally.left(&who, fate, "the stream ended before the outcome came");
        }
        let complete = unsettled == 0 && self.has_sent_all();
        let exit = self.tally.finish(self.output)?;
        let sent = sent > 1;
        ended.map_err(|status| failed_stream(&status, sent))?;
        match (complete, self.broken) {
            (false, _) => {
                Err(Failure::say(Exit::Unavailable, "ingest ended the stream before the last outcome"))
            }
            (true, true) => Ok(if sent { Exit::Refused } else { Exit::Usage }),
            (true, false) => Ok(exit),
        }
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
mod tests {
    use tailcast_proto::ingest::v1::{Outcome, Reason, Refused, outcome};

    use super::*;

    fn lines(count: usize) -> Vec<Result<Message, LineError>> {
        (0..count).map(|_| Ok(Message::default())).collect()
    }

    fn ack(first: u64, last: u64) -> AckRange {
        let count = last - first + 1;
        AckRange {
            first_sequence: first,
            last_sequence: last,
            partitions: (0..count).map(|_| 3).collect(),
            offsets: (first..=last).map(|line| i64::try_from(line).expect("it is small") + 100).collect(),
        }
    }

    fn refusal(sequence: u64) -> Unacknowledged {
        let refused = Refused { reason: Reason::TooLarge.into(), detail: String::new() };
        let outcome = Outcome { result: Some(outcome::Result::Refused(refused)) };
        Unacknowledged { sequence, outcome: Some(outcome) }
    }

    /// Runs `script` on a ledger, and returns what it printed and how it ended.
    fn run(script: impl FnOnce(&mut Ledger<'_, &mut Vec<u8>>), ended: Result<(), Status>) -> (String, Exit) {
        let mut printed = Vec::new();
        let mut output = Output::new(&mut printed);
        let mut ledger = Ledger::new("t", &mut output);
        let greeting = ledger.take_waiting().expect("the stream is opened by a request without messages");
        assert!(greeting.messages.is_empty() && greeting.want_positions);
        script(&mut ledger);
        let exit = ledger.finish(ended).unwrap_or_else(|failure| failure.exit());
        drop(output);
        (String::from_utf8(printed).expect("positions are text"), exit)
    }

    #[test]
    fn outcomes_are_printed_in_the_order_of_the_lines() {
        let (printed, exit) = run(
            |ledger| {
                ledger.read(lines(3));
                let request = ledger.take_waiting().expect("lines wait to be sent");
                assert_eq!((request.first_sequence, request.messages.len()), (1, 3));
                ledger.read(Vec::new());
                let acks = vec![ack(1, 1), ack(2, 3)];
                ledger.settle(PublishStreamResponse { acks, ..Default::default() }).expect("it is printed");
                assert!(ledger.has_sent_all());
            },
            Ok(()),
        );
        assert_eq!((printed.as_str(), exit), ("t/3/101\nt/3/102\nt/3/103\n", Exit::Done));
    }

    #[test]
    fn a_refused_line_is_counted_and_the_others_are_printed() {
        let (printed, exit) = run(
            |ledger| {
                ledger.read(lines(3));
                ledger.take_waiting();
                ledger.read(Vec::new());
                let (acks, failures) = (vec![ack(1, 1), ack(3, 3)], vec![refusal(2)]);
                let answer = PublishStreamResponse { acks, failures, ..Default::default() };
                ledger.settle(answer).expect("it is printed");
            },
            Ok(()),
        );
        assert_eq!((printed.as_str(), exit), ("t/3/101\nt/3/103\n", Exit::Refused));
    }

    #[test]
    fn a_stream_that_ends_early_is_a_failure_even_when_it_ends_well() {
        let sent_one = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
            ledger.read(lines(1));
            ledger.take_waiting();
            ledger.read(Vec::new());
        };
        assert_eq!(run(sent_one, Ok(())).1, Exit::Unavailable);
        // What ingest does not take is a wrong command line (64) only while nothing was sent.
        let invalid = || Status::invalid_argument("too large");
        assert_eq!(run(sent_one, Err(invalid())).1, Exit::Refused);
        assert_eq!(run(|_| {}, Err(invalid())).1, Exit::Usage);
        assert_eq!(run(|_| {}, Ok(())).1, Exit::Unavailable, "with input that had not ended");
    }

    #[test]
    fn no_more_lines_are_read_than_may_be_unsettled() {
        run(
            |ledger| {
                let mut read = 0;
                while ledger.may_read() {
                    ledger.read(lines(500));
                    assert!(!ledger.may_read(), "a request waits already");
                    ledger.take_waiting();
                    read += 500;
                }
                assert_eq!(read, UNSETTLED_MAX);
                ledger
                    .settle(PublishStreamResponse { acks: vec![ack(1, 1)], ..Default::default() })
                    .expect("it is printed");
                assert!(ledger.may_read());
            },
            Ok(()),
        );
    }

    #[test]
    fn a_line_that_is_no_message_ends_the_input() {
        // The exit code said that nothing was published, whatever was before the line.
        let (_, exit) = run(
            |ledger| {
                let broken = LineError::TooLong { number: 2 };
                ledger.read(vec![Ok(Message::default()), Err(broken)]);
                assert!(!ledger.may_read());
                ledger.take_waiting();
                ledger
                    .settle(PublishStreamResponse { acks: vec![ack(1, 1)], ..Default::default() })
                    .expect("it is printed");
            },
            Ok(()),
        );
        assert_eq!(exit, Exit::Refused);
        let first = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
            ledger.read(vec![Err(LineError::TooLong { number: 1 })]);
        };
        assert_eq!(run(first, Ok(())).1, Exit::Usage, "with nothing published");
    }
}
