//! How another connection takes over while the current one still serves the client.
//!
//! Both serve the client for some time, and each delivers everything from its requested start. A
//! subscription's tracker accepts the first delivery of a record and drops the second, so either
//! connection can be given up at any time, without a gap or a repetition.
//!
//! Subscriptions that two connections cannot serve at once are requested after the old connection
//! is closed: see [`Entry::can_overlap`](super::entry::Entry::can_overlap).
//!
//! Invariant: no frame of the next connection ends a subscription, or advances one past a record
//! that the current connection can still deliver. A node that sends such a frame cannot take over;
//! the same frame is applied when it is the only connection.

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
    /// Its node violates the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It does not continue from the position of the current connection.
    #[error("{0} would not continue there without a gap")]
    Gap(Arc<Channel>),
    /// It ends a subscription that the current connection serves.
    #[error("a subscription would end there")]
    End,
}

impl Resume {
    /// Starts the connection that takes over: returns the messages to send, as [`Resume::connect`]
    /// does. The current connection stays in use.
    pub fn prepare(&mut self, connect: v1::Connect, message_bytes_max: usize) -> Vec<ClientMessage> {
        let live = |number| self.link.served.get(&number).is_some_and(|served| served.state == State::Live);
        let served = self.entries.iter().filter(|(number, entry)| entry.can_overlap() && live(*number));
        let numbers = served.map(|(number, _)| number).collect();
        let (link, messages) = Link::open(&self.entries, numbers, connect, message_bytes_max);
        self.next = Some(link);
        messages
    }

    /// Applies a frame of the connection that takes over.
    ///
    /// # Errors
    ///
    /// When the connection cannot take over. It must be given up, by [`Resume::abandon`].
    pub fn observe_next(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, TakeoverError> {
        let Some(next) = &mut self.next else { return Ok(None) };
        let id = frame.id;
        match frame.frame {
            Some(frame::Frame::Subscribed(mut subscribed)) => {
                let (number, start, requested) = next.begun(&self.entries, id, &mut subscribed)?;
                match self.entries.get(number) {
                    Some(entry) if !requested.continues_from(&start, subscribed.outcome()) => {
                        Err(TakeoverError::Gap(Arc::clone(&entry.channel)))
                    }
                    _ => Ok(None),
                }
            }
            Some(frame::Frame::Error(error)) => {
                // The current connection still serves it; it is requested again when that is
                // closed.
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

    /// Returns whether a connection that takes over is prepared.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.next.is_some()
    }

    /// Returns whether the connection that takes over has answered all requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.pending.is_empty())
    }

    /// Gives up the connection that takes over.
    pub fn abandon(&mut self) {
        self.next = None;
    }

    /// Makes the next connection the current one; the old one must not be read any more. Returns
    /// events for the application.
    ///
    /// Also called before the next connection is ready, if the old one is lost: its replies are
    /// then applied later.
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
