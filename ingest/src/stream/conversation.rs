//! What one publish stream owes its caller: an outcome for every message it took, in order, once; and credits.
//!
//! No IO, no tasks, no clock. The task feeds in requests, completions and the reasons to stop, and sends what comes out.
//!
//! Invariants: messages taken and not yet told number at most `credits_max`. Outcomes are told in the order of their
//! sequence numbers, so one that is known early waits for those before it. After the end nothing is heard any more, and
//! the end is told only when everything taken has been. An end that cannot wait for that is not told here.

use std::collections::VecDeque;

use tailcast_proto::ingest::v1;

use super::ending::{End, StreamError};
use crate::{completion::CompletedMessage, outcome::Outcome};

/// How many outcomes one response tells, so that it stays far below the 4 MiB at which gRPC clients refuse a message.
const OUTCOMES_PER_RESPONSE_MAX: usize = 10_000;

/// One publish stream, as its caller sees it.
#[derive(Debug)]
pub(super) struct Conversation {
    credits_max: usize,
    /// What the first request said; `None` before it.
    want_positions: Option<bool>,
    /// The sequence number of the first message in `window`, once there has been a message.
    first: Option<u64>,
    /// What became of the messages taken and not yet told.
    window: VecDeque<Option<Outcome>>,
    /// Whether the caller is owed a response whatever there is to tell: at the beginning, when it has response_due, and when it
    /// should hear how full the node is.
    response_due: bool,
    end: Option<End>,
}

/// What to send next.
#[derive(Debug)]
pub(super) enum StreamReply {
    /// A response.
    Response(v1::PublishStreamResponse),
    /// Nothing any more.
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

    /// Hears a request before its messages are looked at: what it wants, and whether it continues where the one before
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

    /// Whether there are credits for so many messages.
    pub(super) fn has_credits(&self, messages: usize) -> bool {
        self.window.len() + messages <= self.credits_max
    }

    /// Takes messages that were heard and have credits. Their outcomes are owed from here on.
    pub(super) fn take(&mut self, first_sequence: u64, messages: usize) {
        debug_assert!(self.has_credits(messages), "messages wait for credits before they are taken");
        self.first.get_or_insert(first_sequence);
        self.window.extend(std::iter::repeat_n(None, messages));
    }

    /// Makes a response due, although nobody response_due and nothing may be known.
    pub(super) fn request_response(&mut self) {
        self.response_due = true;
    }

    /// Notes what became of a message.
    pub(super) fn complete(&mut self, completed: CompletedMessage) {
        let place = self.first.and_then(|first| completed.sequence.checked_sub(first));
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(slot) = place.and_then(|place| self.window.get_mut(place)) {
            *slot = Some(completed.outcome);
        }
    }

    /// Ends the stream when everything taken has been told. The first end counts.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Whether the end is decided, so that nothing more is read.
    pub(super) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether there is something to send.
    pub(super) fn has_reply(&self) -> bool {
        self.response_due || matches!(self.window.front(), Some(Some(_))) || self.has_ended()
    }

    /// What to send next. A response tells of all that is known, in as few ranges as possible.
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

    /// The sequence number that the next message has to have; `None` before the first.
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
            // The topic is only in the outcome of an acknowledged message.
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
