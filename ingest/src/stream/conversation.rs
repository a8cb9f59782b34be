//! The protocol of one publish stream: one outcome for every accepted message, in order; and
//! credits.
//!
//! No IO, no tasks, no clock. The task passes in requests, completed messages and the reason to
//! end, and sends the replies.
//!
//! Invariants: at most `credits_max` accepted messages have no reported outcome. Outcomes are
//! reported in the order of their sequence numbers, so an outcome that is known early waits for
//! earlier ones. Once the end is decided, no request is accepted, and the end is reported after the
//! last outcome. An end that cannot wait for outcomes does not go through this type.

use std::collections::VecDeque;

use tailcast_proto::ingest::v1;

use super::ending::{End, StreamError};
use crate::{completion::CompletedMessage, outcome::Outcome};

/// The maximum number of outcomes in a response, so that it stays far below gRPC's default message
/// limit of 4 MiB.
const OUTCOMES_PER_RESPONSE_MAX: usize = 10_000;

/// The state of one publish stream.
#[derive(Debug)]
pub(super) struct Conversation {
    credits_max: usize,
    /// The value in the first request; `None` before it.
    want_positions: Option<bool>,
    /// The sequence number of the first message in `window`; `None` before the first message.
    first: Option<u64>,
    /// The accepted messages whose outcomes are not reported, with the outcomes known.
    window: VecDeque<Option<Outcome>>,
    /// Whether a response is due even without outcomes: at the beginning, after an empty request,
    /// and when the caller should pause.
    response_due: bool,
    end: Option<End>,
}

/// The next thing to send.
#[derive(Debug)]
pub(super) enum StreamReply {
    /// A response.
    Response(v1::PublishStreamResponse),
    /// The end of the stream.
    End(End),
}

impl Conversation {
    pub(super) fn new(credits_max: usize) -> Self {
        Self {
            credits_max,
            want_positions: None,
            first: None,
            window: VecDeque::new(),
            response_due: true,
            end: None,
        }
    }

    /// Checks a request before its messages are parsed: it must continue where the previous one
    /// ended.
    pub(super) fn check_request(&mut self, request: &v1::PublishStreamRequest) -> Result<(), StreamError> {
        self.want_positions.get_or_insert(request.want_positions);
        if request.messages.is_empty() {
            self.response_due = true;
            return Ok(());
        }
        let found = request.first_sequence;
        if found.checked_add(request.messages.len() as u64).is_none() {
            return Err(StreamError::SequenceTooLarge { found });
        }
        match self.next() {
            Some(expected) if expected != found => Err(StreamError::SequenceJump { expected, found }),
            _ => Ok(()),
        }
    }

    /// Returns whether there are credits for this number of messages.
    pub(super) fn has_credits(&self, messages: usize) -> bool {
        self.window.len() + messages <= self.credits_max
    }

    /// Accepts messages of a checked request that has credits. From here on, each will get an
    /// outcome.
    pub(super) fn take(&mut self, first_sequence: u64, messages: usize) {
        debug_assert!(self.has_credits(messages), "messages wait for credits before they are accepted");
        self.first.get_or_insert(first_sequence);
        self.window.extend(std::iter::repeat_n(None, messages));
    }

    /// Makes a response due, even without outcomes.
    pub(super) fn request_response(&mut self) {
        self.response_due = true;
    }

    /// Notes the outcome of a message.
    pub(super) fn complete(&mut self, completed: CompletedMessage) {
        let place = self.first.and_then(|first| completed.sequence.checked_sub(first));
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(slot) = place.and_then(|place| self.window.get_mut(place)) {
            *slot = Some(completed.outcome);
        }
    }

    /// Ends the stream after the last outcome. The first call decides.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Returns whether the end is decided, so that no more requests are read.
    pub(super) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Returns whether there is something to send.
    pub(super) fn has_reply(&self) -> bool {
        self.response_due || matches!(self.window.front(), Some(Some(_))) || self.has_ended()
    }

    /// Returns the next reply. A response has all known outcomes, in as few ranges as possible.
    pub(super) fn next_reply(&mut self, throttle_ms: u32) -> Option<StreamReply> {
        if !self.has_reply() {
            return None;
        }
        if self.has_ended() && !self.response_due {
            return self.end.take().map(StreamReply::End);
        }
        self.response_due = false;
        let mut response = v1::PublishStreamResponse { throttle_ms, ..Default::default() };
        for _ in 0..OUTCOMES_PER_RESPONSE_MAX {
            match self.pop() {
                Some((sequence, outcome)) => self.report(&mut response, sequence, &outcome),
                None => break,
            }
        }
        response.credits = u32::try_from(self.credits_max - self.window.len()).unwrap_or(u32::MAX);
        Some(StreamReply::Response(response))
    }

    fn has_ended(&self) -> bool {
        self.end.is_some() && self.window.is_empty()
    }

    /// Returns the sequence number of the next message; `None` before the first.
    fn next(&self) -> Option<u64> {
        self.first.map(|first| first + self.window.len() as u64)
    }

    fn pop(&mut self) -> Option<(u64, Outcome)> {
        let sequence = self.first?;
        let outcome = self.window.front_mut()?.take()?;
        self.window.pop_front();
        self.first = Some(sequence + 1);
        Some((sequence, outcome))
    }

    fn report(&self, response: &mut v1::PublishStreamResponse, sequence: u64, outcome: &Outcome) {
        let Outcome::Acknowledged { partition, offset } = outcome else {
            // Only the outcome of an acknowledged message contains the topic.
            response.failures.push(v1::Failure { sequence, outcome: Some(outcome.wire("")) });
            return;
        };
        let mut range = match response.acks.pop_if(|range| range.last_sequence + 1 == sequence) {
            Some(range) => range,
            None => v1::AckRange { first_sequence: sequence, ..Default::default() },
        };
        range.last_sequence = sequence;
        if self.want_positions == Some(true) {
            range.partitions.push(partition.get());
            range.offsets.push(offset.get());
        }
        response.acks.push(range);
    }
}

#[cfg(test)]
mod tests;
