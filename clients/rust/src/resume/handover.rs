//! How another connection takes over while the one in use goes on.
//!
//! Both serve the client for a while, and each on its own delivers everything from where it was asked to start. A
//! subscription's own tracker takes what comes first and drops what comes second, so either of the two can be given up at any
//! moment, without a gap or a repetition.
//!
//! What cannot be served by two, because an offset does not tell what both deliver, is asked for after the other connection
//! was left: see [`Entry::can_overlap`](super::entry::Entry::can_overlap).
//!
//! Invariant: nothing that the next connection says ends a subscription or moves one past what the connection in use can still
//! deliver. A node that would do so is unfit, and says it again, to be believed, when it is the only one.

use std::{sync::Arc, time::Instant};

use tailcast_proto::{
    Channel,
    push::v1::{self, ClientMessage, DeliveryMode, Frame, Outcome, UnsubscribeReason, frame},
};

use super::{
    Fault, Resume,
    answers::retry_delay,
    link::{Link, State},
};
use crate::{Event, Subscribed, Unsubscribed};

/// Why a connection cannot take over.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TakeoverError {
    /// It breaks the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It does not go on where the connection in use is.
    #[error("{0} would not continue there without a gap")]
    Gap(Arc<Channel>),
    /// It ends what the connection in use serves.
    #[error("a subscription would end there")]
    End,
}

impl Resume {
    /// Begins the connection that is to take over: returns what to send, as [`Resume::connect`] does. The one in use stays in
    /// use.
    pub fn prepare(&mut self, connect: v1::Connect, message_bytes_max: usize) -> Vec<ClientMessage> {
        let live = |number| self.link.served.get(&number).is_some_and(|served| served.state == State::Live);
        let served = self.entries.iter().filter(|(number, entry)| entry.can_overlap() && live(*number));
        let numbers = served.map(|(number, _)| number).collect();
        let (link, messages) = Link::open(&self.entries, numbers, connect, message_bytes_max);
        self.next = Some(link);
        messages
    }

    /// Takes a frame of the connection that is to take over.
    ///
    /// # Errors
    ///
    /// When the connection cannot take over. It has to be given up, by [`Resume::abandon`].
    pub fn observe_next(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, TakeoverError> {
        let Some(next) = &mut self.next else { return Ok(None) };
        let id = frame.id;
        match frame.frame {
            Some(frame::Frame::Subscribed(mut subscribed)) => {
                let (number, start, asked) = next.begun(&self.entries, id, &mut subscribed)?;
                match self.entries.get(number) {
                    Some(entry) if !asked.continues_from(&start, subscribed.outcome()) => {
                        Err(TakeoverError::Gap(Arc::clone(&entry.channel)))
                    }
                    _ => Ok(None),
                }
            }
            Some(frame::Frame::Error(error)) => {
                // The connection in use goes on with it; it is asked for again when that was left.
                if let Some(number) = next.answered(id, error.index) {
                    match retry_delay(error.code(), error.retry_after_ms) {
                        Some(after) => next.retry_at(number, now + after),
                        None => next.forget(number),
                    }
                }
                Ok(None)
            }
            Some(frame::Frame::Unsubscribed(ended)) => {
                let number = next.by_alias.get(&ended.alias).copied();
                match number.filter(|_| ended.reason() == UnsubscribeReason::PartitionsAdded) {
                    Some(number) => {
                        next.forget(number);
                        Ok(None)
                    }
                    None => Err(TakeoverError::End),
                }
            }
            Some(frame::Frame::Skipped(skipped)) => {
                let (entry, _) = next.of_alias(&mut self.entries, skipped.alias)?;
                Err(TakeoverError::Gap(Arc::clone(&entry.channel)))
            }
            _ => Ok(next.observe(&mut self.entries, frame, now)?),
        }
    }

    /// Returns whether there is a connection that is to take over.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.next.is_some()
    }

    /// Returns whether the connection that is to take over has answered all that it was asked for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.pending.is_empty())
    }

    /// Gives up the connection that was to take over.
    pub fn abandon(&mut self) {
        self.next = None;
    }

    /// Takes over: the next connection is the one in use, and the other one is not to be read any more. Returns what the
    /// application should know.
    ///
    /// Also before the next connection is ready, when the other one is gone: what it has not answered yet, it answers later.
    pub fn take_over(&mut self) -> Vec<Event> {
        let Some(next) = self.next.take() else { return Vec::new() };
        self.link = next;
        let (mut events, mut ended) = (Vec::new(), Vec::new());
        for (number, entry) in self.entries.iter_mut() {
            let served = self.link.served.get(&number);
            match served.map(|served| served.state) {
                Some(_) if entry.unsubscribing => self.link.unsent.push(number),
                None if entry.unsubscribing => ended.push(number),
                None => self.link.unsent.push(number),
                Some(State::Requested | State::RetryLater) => {}
                Some(State::Live) => {
                    if let Some(served) = served {
                        entry.tracker.merge(&served.tracker);
                    }
                    events.push(Event::Subscribed(Subscribed {
                        channel: Arc::clone(&entry.channel),
                        position: entry.tracker.position().cloned().unwrap_or_default(),
                        outcome: Outcome::Resumed,
                        lost: Vec::new(),
                        mode: DeliveryMode::Lossless,
                        max_rate: None,
                    }));
                }
            }
        }
        events.extend(ended.into_iter().filter_map(|number| self.entries.remove(number)).map(|entry| {
            let (reason, position) = (UnsubscribeReason::Requested, entry.tracker.position().cloned());
            Event::Unsubscribed(Unsubscribed { channel: entry.channel, reason, position })
        }));
        events
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests;
