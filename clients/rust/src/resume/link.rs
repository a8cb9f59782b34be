//! The state of one connection: aliases, pending commands, and the position of each subscription.
//!
//! It is dropped with the connection; the subscriptions are not.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    time::Instant,
};

use prost::Message as _;
use tailcast_proto::{
    Channel, Offset, PartitionId, Position,
    push::v1::{self, ClientMessage, client_message::Command},
};

use super::{
    Fault,
    entry::{Entries, Entry},
};
use crate::Tracker;

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// By the subscription's number. Absent: it is not requested on this connection, or has ended
    /// there.
    pub(super) served: BTreeMap<u64, Served>,
    pub(super) by_alias: HashMap<u32, u64>,
    /// The subscriptions of each pending command, in the order of its indexes. `None`: answered.
    pub(super) pending: HashMap<u32, Vec<Option<u64>>>,
    /// The subscriptions with commands that are not sent yet.
    pub(super) unsent: Vec<u64>,
    /// The subscriptions to retry, by time.
    pub(super) retries: BTreeSet<(Instant, u64)>,
    next_id: u32,
}

/// One subscription on one connection.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) state: State,
    /// The channel's number on this connection.
    pub(super) alias: Option<u32>,
    /// The partition of deliveries without one.
    pub(super) home: Option<PartitionId>,
    /// The position of this connection. It is behind the subscription's tracker while the
    /// connection repeats records.
    pub(super) tracker: Tracker,
}

/// The node's view of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Requested, and not answered.
    Requested,
    /// Started.
    Live,
    /// Refused temporarily; to be retried.
    RetryLater,
}

impl Link {
    /// Starts a connection: returns the messages to send, `connect` with all subscriptions that fit
    /// into `message_bytes_max`, and commands for the others.
    pub(super) fn open(
        entries: &Entries,
        numbers: Vec<u64>,
        connect: v1::Connect,
        message_bytes_max: usize,
    ) -> (Self, Vec<ClientMessage>) {
        let mut link = Self::default();
        let id = link.id();
        // Room for the id, tags and lengths around the subscriptions.
        let mut room = message_bytes_max.saturating_sub(connect.encoded_len() + 32);
        let (mut carried, mut subscriptions) = (Vec::new(), Vec::new());
        let mut numbers = numbers.into_iter().peekable();
        while let Some((number, entry)) = numbers.peek().and_then(|at| Some((*at, entries.get(*at)?))) {
            let command = entry.subscription.command(entry.tracker.position());
            // A length takes at most 5 bytes, a tag 1.
            let Some(left) = room.checked_sub(command.encoded_len() + 6) else { break };
            room = left;
            numbers.next();
            link.served.insert(number, Served::requested(entry));
            carried.push(Some(number));
            subscriptions.push(command);
        }
        if !carried.is_empty() {
            link.pending.insert(id, carried);
        }
        let connect = v1::Connect { subscriptions, ..connect };
        let mut messages = vec![ClientMessage { id, command: Some(Command::Connect(connect)) }];
        messages.extend(numbers.filter_map(|number| link.command(entries, number)));
        (link, messages)
    }

    /// Returns the commands that are due.
    pub(super) fn due(&mut self, entries: &Entries, now: Instant) -> Vec<ClientMessage> {
        let mut numbers = mem::take(&mut self.unsent);
        while let Some((at, number)) = self.retries.pop_first() {
            if at > now {
                self.retries.insert((at, number));
                break;
            }
            numbers.push(number);
        }
        numbers.into_iter().filter_map(|number| self.command(entries, number)).collect()
    }

    /// Returns the command for a subscription, if there is one to send.
    fn command(&mut self, entries: &Entries, number: u64) -> Option<ClientMessage> {
        let entry = entries.get(number)?;
        let command = if entry.unsubscribing {
            let target = v1::unsubscribe::Target::Channel((&*entry.channel).into());
            Command::Unsubscribe(v1::Unsubscribe { target: Some(target) })
        } else {
            let known = self.served.get(&number);
            if known.is_some_and(|served| served.state != State::RetryLater) {
                return None;
            }
            self.served.insert(number, Served::requested(entry));
            Command::Subscribe(entry.subscription.command(entry.tracker.position()))
        };
        let id = self.id();
        self.pending.insert(id, vec![Some(number)]);
        Some(ClientMessage { id, command: Some(command) })
    }

    /// Returns the subscription at an index of a pending command, and records the answer.
    pub(super) fn answered(&mut self, id: u32, index: u32) -> Option<u64> {
        let pending = self.pending.get_mut(&id)?;
        let number = pending.get_mut(usize::try_from(index).ok()?)?.take();
        if pending.iter().all(Option::is_none) {
            self.pending.remove(&id);
        }
        number
    }

    /// Schedules a retry of a subscription.
    pub(super) fn retry_at(&mut self, number: u64, at: Instant) {
        if let Some(served) = self.served.get_mut(&number) {
            served.state = State::RetryLater;
            self.retries.insert((at, number));
        }
    }

    /// Removes a subscription from this connection.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(alias) = self.served.remove(&number).and_then(|served| served.alias) {
            self.by_alias.remove(&alias);
        }
    }

    /// Returns the subscription with an alias, and its state on this connection.
    pub(super) fn of_alias<'a>(
        &'a mut self,
        entries: &'a mut Entries,
        alias: u32,
    ) -> Result<(&'a mut Entry, &'a mut Served), Fault> {
        let number = self.by_alias.get(&alias);
        let found = number.and_then(|number| entries.get_mut(*number).zip(self.served.get_mut(number)));
        found.ok_or(Fault::UnknownAlias(alias))
    }

    /// Ids count from 1: a reply with id 0 answers no command.
    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}

impl Served {
    fn requested(entry: &Entry) -> Self {
        Self { state: State::Requested, alias: None, home: None, tracker: entry.tracker.clone() }
    }

    /// Parses the partition and the offset in a frame.
    pub(super) fn place(
        &self,
        channel: &std::sync::Arc<Channel>,
        partition: Option<u32>,
        offset: i64,
    ) -> Result<(PartitionId, Offset), Fault> {
        let named = match partition {
            Some(partition) => PartitionId::try_from(partition).ok(),
            None => self.home,
        };
        let fault = || Fault::Place { channel: channel.clone(), partition, offset };
        named.zip(Offset::new(offset)).ok_or_else(fault)
    }
}

/// Parses the position in a frame; a missing one is empty.
pub(super) fn position(entry: &Entry, position: Option<v1::Position>) -> Result<Position, Fault> {
    Position::try_from(position.unwrap_or_default())
        .map_err(|source| Fault::Position { channel: entry.channel.clone(), source })
}
