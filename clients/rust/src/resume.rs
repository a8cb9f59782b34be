//! All subscriptions of a client: the commands for a node, and the effect of its frames.
//!
//! Aliases of channels and ids of commands are valid on one connection. They are in a [`link`],
//! which [`Resume::connect`] replaces; positions stay. Two connections may serve the client for
//! some time, so that the next one is ready before the current one is closed: see [`handover`].
//!
//! Without IO, tasks or clocks. Invariant: an entry's number is never reused, so that a late reply
//! cannot be applied to another subscription.

mod fault;

mod entry;

mod link;

mod frames;

mod answers;

mod handover;

use std::{sync::Arc, time::Instant};

use tailcast_proto::{
    Channel, Position,
    push::v1::{self, ClientMessage, Frame, SkipReason, frame},
};

use self::{entry::Entries, link::Link};
pub use self::{fault::Fault, handover::TakeoverError};
use crate::{Event, Subscription};

/// All subscriptions of a client.
#[derive(Debug, Default)]
pub struct Resume {
    entries: Entries,
    /// The current connection.
    link: Link,
    /// The connection that takes over.
    next: Option<Link>,
}

/// The client already has a subscription to this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is already subscribed to this channel; unsubscribe first and wait for the end")]
pub struct AlreadySubscribed;

impl Resume {
    /// Starts without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription, which the next [`Resume::connect`] or [`Resume::due`] requests.
    ///
    /// # Errors
    ///
    /// When there is a subscription to its channel.
    pub fn add(&mut self, subscription: Subscription) -> Result<(), AlreadySubscribed> {
        let number = self.entries.add(subscription)?;
        self.link.unsent.push(number);
        Ok(())
    }

    /// Starts a connection: returns the messages to send, first `connect` with the subscriptions at
    /// their positions. Subscriptions that were being ended must be removed before, by
    /// [`Resume::take_unsubscribing`].
    ///
    /// Subscriptions that do not fit into one message of `message_bytes_max` follow in `Subscribe`
    /// commands.
    pub fn connect(&mut self, connect: v1::Connect, message_bytes_max: usize) -> Vec<ClientMessage> {
        let numbers = self.entries.iter().filter(|(_, entry)| !entry.unsubscribing).map(|(number, _)| number);
        let numbers = numbers.collect();
        let (link, messages) = Link::open(&self.entries, numbers, connect, message_bytes_max);
        self.link = link;
        self.next = None;
        messages
    }

    /// Applies a frame of the current connection: advances positions, and returns an event for the
    /// application. `Connected`, `Goaway`, `Refreshed` and unknown frames are ignored.
    ///
    /// # Errors
    ///
    /// When the frame violates the protocol. No position has changed; the client should reconnect
    /// and resume.
    pub fn observe(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, Fault> {
        let truncated = matches!(&frame.frame, Some(frame::Frame::Skipped(skipped))
            if skipped.reason() == SkipReason::Truncated);
        let before = self.entries.len();
        let event = self.link.observe(&mut self.entries, frame, now)?;
        // The connection that takes over was prepared before, and does not know of the change.
        if truncated || self.entries.len() < before {
            self.abandon();
        }
        Ok(event)
    }

    /// Returns the commands that are due on the current connection: new and ended subscriptions,
    /// and retries.
    pub fn due(&mut self, now: Instant) -> Vec<ClientMessage> {
        self.link.due(&self.entries, now)
    }

    /// Returns when the next retry is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.link.retries.first().map(|(at, _)| *at)
    }

    /// Ends the subscription to a channel, if there is one: by a command of the next
    /// [`Resume::due`], or without a command if the connection is lost before.
    pub fn unsubscribe(&mut self, channel: &Channel) {
        let Some(number) = self.entries.number(channel) else { return };
        if let Some(entry) = self.entries.get_mut(number).filter(|entry| !entry.unsubscribing) {
            entry.unsubscribing = true;
            // One command is enough, also if the subscription was not requested yet.
            self.link.unsent.retain(|unsent| *unsent != number);
            self.link.unsent.push(number);
        }
    }

    /// Returns the position of the subscription to a channel.
    #[must_use]
    pub fn position(&self, channel: &Channel) -> Option<&Position> {
        self.entries.get(self.entries.number(channel)?)?.tracker.position()
    }

    /// Removes and returns the subscriptions that were being ended when the connection broke.
    pub fn take_unsubscribing(&mut self) -> Vec<(Arc<Channel>, Option<Position>)> {
        let unsubscribing = self.entries.iter().filter(|(_, entry)| entry.unsubscribing);
        let unsubscribing: Vec<_> = unsubscribing.map(|(number, _)| number).collect();
        let entries = unsubscribing.into_iter().filter_map(|number| self.entries.remove(number));
        entries.map(|entry| (entry.channel, entry.tracker.position().cloned())).collect()
    }
}

#[cfg(test)]
mod tests;
