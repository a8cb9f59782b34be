//! All subscriptions of a client: what to ask a node for, and what its frames mean.
//!
//! A node numbers channels by alias, for one connection; a command is answered under its id, for one connection. What belongs
//! to a connection is a [`link`], which [`Resume::connect`] replaces; positions stay. Two connections may serve the client for
//! a while, so that the next one is there before the one in use is left: see [`handover`].
//!
//! Without IO, tasks or clocks. Invariant: an entry's number is never used again, so that a late reply cannot meet another
//! subscription.

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
    /// The connection in use.
    link: Link,
    /// The one that is to take over.
    next: Option<Link>,
}

/// The client has a subscription to this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is already subscribed to this channel; unsubscribe first and wait for the end")]
pub struct AlreadySubscribed;

impl Resume {
    /// Starts without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription. It is asked for by the next [`Resume::connect`] or [`Resume::due`].
    ///
    /// # Errors
    ///
    /// When there is one to its channel.
    pub fn add(&mut self, subscription: Subscription) -> Result<(), AlreadySubscribed> {
        let number = self.entries.add(subscription)?;
        self.link.unsent.push(number);
        Ok(())
    }

    /// Begins a connection: returns what to send, `connect` with the subscriptions at their positions first. Those that were
    /// being ended have to be taken before, by [`Resume::take_unsubscribing`].
    ///
    /// What does not fit into one message of `message_bytes_max` follows in `Subscribe` commands.
    pub fn connect(&mut self, connect: v1::Connect, message_bytes_max: usize) -> Vec<ClientMessage> {
        let numbers = self.entries.iter().filter(|(_, entry)| !entry.unsubscribing).map(|(number, _)| number);
        let numbers = numbers.collect();
        let (link, messages) = Link::open(&self.entries, numbers, connect, message_bytes_max);
        self.link = link;
        self.next = None;
        messages
    }

    /// Takes a frame of the connection in use: moves positions, and returns what the application should know. `Connected`,
    /// `Goaway` and `Refreshed` concern the connection and are nothing here, as are kinds of frames that this version does not
    /// know.
    ///
    /// # Errors
    ///
    /// When the frame contradicts the protocol. Nothing has moved; the connection should be left and resumed.
    pub fn observe(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, Fault> {
        let cut_back = matches!(&frame.frame, Some(frame::Frame::Skipped(skipped))
            if skipped.reason() == SkipReason::Truncated);
        let before = self.entries.len();
        let event = self.link.observe(&mut self.entries, frame, now)?;
        // The connection that is to take over was asked for what there was before: it cannot know of either.
        if cut_back || self.entries.len() < before {
            self.abandon();
        }
        Ok(event)
    }

    /// Returns the commands that are due: subscriptions to begin and to end, and those whose time to be asked for again has
    /// come. For the connection in use.
    pub fn due(&mut self, now: Instant) -> Vec<ClientMessage> {
        self.link.due(&self.entries, now)
    }

    /// Returns when [`Resume::due`] has something next, because a node said when to ask again.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.link.retries.first().map(|(at, _)| *at)
    }

    /// Ends the subscription to a channel, if there is one: by the command of the next [`Resume::due`], or without one when
    /// the connection is gone by then.
    pub fn unsubscribe(&mut self, channel: &Channel) {
        let Some(number) = self.entries.number(channel) else { return };
        if let Some(entry) = self.entries.get_mut(number).filter(|entry| !entry.unsubscribing) {
            entry.unsubscribing = true;
            // One command is enough, also for one that was not begun yet.
            self.link.unsent.retain(|unsent| *unsent != number);
            self.link.unsent.push(number);
        }
    }

    /// Returns where the subscription to a channel is.
    #[must_use]
    pub fn position(&self, channel: &Channel) -> Option<&Position> {
        self.entries.get(self.entries.number(channel)?)?.tracker.position()
    }

    /// Returns the subscriptions that were being ended when the connection broke; they have ended.
    pub fn take_unsubscribing(&mut self) -> Vec<(Arc<Channel>, Option<Position>)> {
        let unsubscribing = self.entries.iter().filter(|(_, entry)| entry.unsubscribing);
        let unsubscribing: Vec<_> = unsubscribing.map(|(number, _)| number).collect();
        let entries = unsubscribing.into_iter().filter_map(|number| self.entries.remove(number));
        entries.map(|entry| (entry.channel, entry.tracker.position().cloned())).collect()
    }
}

#[cfg(test)]
mod tests;
