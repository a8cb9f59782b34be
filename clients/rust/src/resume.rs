//! All subscriptions of a client: what to ask a node for, and what its frames mean.
//!
//! A node numbers channels by alias, for one connection; a command is answered under its id, for one connection. Everything
//! here that belongs to a connection is forgotten by [`Resume::connect`]; positions are not.
//!
//! Without IO, tasks or clocks. Invariant: an entry's number is never used again, so that a late reply cannot meet another
//! subscription.

mod fault;

mod entry;

mod frames;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Instant,
};

use prost::Message as _;
use tailcast_proto::{
    Channel, Position,
    push::v1::{self, ClientMessage, client_message::Command},
};

use self::entry::{Entry, State};
pub use self::fault::Fault;
use crate::Subscription;

/// All subscriptions of a client.
#[derive(Debug, Default)]
pub struct Resume {
    entries: BTreeMap<u64, Entry>,
    by_channel: HashMap<Arc<Channel>, u64>,
    by_alias: HashMap<u32, u64>,
    /// The entries that a command was about, in the order of its indexes. `None`: answered.
    asked: HashMap<u32, Vec<Option<u64>>>,
    /// The entries that the node is to be told about.
    unsaid: Vec<u64>,
    /// When to ask again for which entries.
    again: BTreeSet<(Instant, u64)>,
    next_number: u64,
    next_id: u32,
}

/// The client has a subscription to this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has a subscription to this channel already; unsubscribe first, and wait for its end")]
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
        if self.by_channel.contains_key(&subscription.channel) {
            return Err(AlreadySubscribed);
        }
        let entry = Entry::new(subscription);
        self.by_channel.insert(Arc::clone(&entry.channel), self.next_number);
        self.entries.insert(self.next_number, entry);
        self.unsaid.push(self.next_number);
        self.next_number += 1;
        Ok(())
    }

    /// Begins a connection: returns what to send, `connect` with the subscriptions at their positions first. Those that were
    /// being ended have to be taken before, by [`Resume::take_leaving`].
    ///
    /// What does not fit into one message of `message_bytes_max` follows in `Subscribe` commands.
    pub fn connect(&mut self, connect: v1::Connect, message_bytes_max: usize) -> Vec<ClientMessage> {
        self.forget_connection();
        let id = self.id();
        // Room for the id, tags and lengths around the subscriptions.
        let mut room = message_bytes_max.saturating_sub(connect.encoded_len() + 32);
        let mut carried = Vec::new();
        let mut subscriptions = Vec::new();
        for (number, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.state == State::Idle) {
            let command = entry.subscription.command(entry.tracker.position());
            // A length takes at most 5 bytes, a tag 1.
            let Some(left) = room.checked_sub(command.encoded_len() + 6) else { break };
            room = left;
            entry.state = State::Asked;
            carried.push(Some(*number));
            subscriptions.push(command);
        }
        if !carried.is_empty() {
            self.asked.insert(id, carried);
        }
        let connect = v1::Connect { subscriptions, ..connect };
        let mut messages = vec![ClientMessage { id, command: Some(Command::Connect(connect)) }];
        let idle = self.entries.iter().filter(|(_, entry)| entry.state == State::Idle);
        let rest: Vec<_> = idle.map(|(number, _)| *number).collect();
        messages.extend(rest.into_iter().filter_map(|number| self.say(number)));
        messages
    }

    /// Returns the commands that are due: subscriptions to begin and to end, and those whose time to be asked for again has
    /// come. For the connection that [`Resume::connect`] began.
    pub fn due(&mut self, now: Instant) -> Vec<ClientMessage> {
        let mut numbers = mem::take(&mut self.unsaid);
        while let Some((at, number)) = self.again.pop_first() {
            if at > now {
                self.again.insert((at, number));
                break;
            }
            numbers.push(number);
        }
        numbers.into_iter().filter_map(|number| self.say(number)).collect()
    }

    /// Returns when [`Resume::due`] has something next, because a node said when to ask again.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.again.first().map(|(at, _)| *at)
    }

    /// Ends the subscription to a channel, if there is one: by the command of the next [`Resume::due`], or without one when
    /// the connection is gone by then.
    pub fn unsubscribe(&mut self, channel: &Channel) {
        let Some(number) = self.by_channel.get(channel) else { return };
        if let Some(entry) = self.entries.get_mut(number) {
            entry.state = State::Leaving;
            self.unsaid.push(*number);
        }
    }

    /// Returns where the subscription to a channel is.
    #[must_use]
    pub fn position(&self, channel: &Channel) -> Option<&Position> {
        self.entries.get(self.by_channel.get(channel)?)?.tracker.position()
    }

    /// Returns the subscriptions that were being ended when the connection broke; they have ended.
    pub fn take_leaving(&mut self) -> Vec<(Arc<Channel>, Option<Position>)> {
        let leaving = self.entries.iter().filter(|(_, entry)| entry.state == State::Leaving);
        let leaving: Vec<_> = leaving.map(|(number, _)| *number).collect();
        let entries = leaving.into_iter().filter_map(|number| self.remove(number));
        entries.map(|entry| (entry.channel, entry.tracker.position().cloned())).collect()
    }

    /// Returns what is to be said to the node about an entry.
    fn say(&mut self, number: u64) -> Option<ClientMessage> {
        let entry = self.entries.get_mut(&number)?;
        let command = match entry.state {
            State::Idle | State::Again => {
                entry.state = State::Asked;
                Command::Subscribe(entry.subscription.command(entry.tracker.position()))
            }
            State::Leaving => {
                let target = v1::unsubscribe::Target::Channel((&*entry.channel).into());
                Command::Unsubscribe(v1::Unsubscribe { target: Some(target) })
            }
            State::Asked | State::Live => return None,
        };
        let id = self.id();
        self.asked.insert(id, vec![Some(number)]);
        Some(ClientMessage { id, command: Some(command) })
    }

    fn forget_connection(&mut self) {
        self.by_alias.clear();
        self.asked.clear();
        self.unsaid.clear();
        self.again.clear();
        self.next_id = 0;
        for entry in self.entries.values_mut() {
            entry.alias = None;
            entry.home = None;
            if entry.state != State::Leaving {
                entry.state = State::Idle;
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.by_channel.remove(&entry.channel);
        if let Some(alias) = entry.alias {
            self.by_alias.remove(&alias);
        }
        Some(entry)
    }

    /// Ids count from 1: a reply under id 0 says that it answers none.
    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}

#[cfg(test)]
mod tests;
