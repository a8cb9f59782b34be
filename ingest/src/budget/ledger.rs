//! The rules of the in-flight limit: how much each holder uses, and who may take more.
//!
//! Plain arithmetic: no tasks, no clock. A unary call takes or fails. A stream takes or is queued.
//! The queue is served in order, except that a stream over its own share does not block the streams
//! behind it.
//!
//! Invariants: usage never exceeds the limit. Streams together leave a quarter of the limit to
//! unary calls. While streams are queued, unary calls together stay within that quarter, so neither
//! starves the other. A stream with nothing in flight may exceed its share, so even a share smaller
//! than one request lets every stream make progress.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Add, AddAssign, SubAssign},
};

/// The cost of messages in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// A stream's number in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(u64);

/// The number of a queued take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// A holder of a part of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// All unary calls together.
    Calls,
    /// One stream.
    Stream(StreamId),
}

/// The in-flight limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetExceeded;

/// The result of a stream's take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeResult {
    /// The cost is taken.
    Taken,
    /// The take is queued; a later `release`, `leave` or `close` returns its ticket.
    Queued(Ticket),
}

/// Usage and queue.
#[derive(Debug)]
pub(crate) struct Ledger {
    bound: Cost,
    calls: Cost,
    /// The usage of all streams, including closed ones whose messages are still in flight.
    streams: Cost,
    open: BTreeMap<StreamId, Cost>,
    pending: VecDeque<PendingTake>,
    /// Shared by streams and tickets; no number is used twice.
    next_id: u64,
}

#[derive(Debug)]
struct PendingTake {
    ticket: Ticket,
    stream: StreamId,
    cost: Cost,
}

/// Why a stream cannot take.
enum Exceeded {
    /// The stream's share: only this stream waits.
    Share,
    /// The limit for all: every stream waits.
    Limit,
}

impl Ledger {
    pub(crate) fn new(bound: Cost) -> Self {
        Self {
            bound,
            calls: Cost::default(),
            streams: Cost::default(),
            open: BTreeMap::new(),
            pending: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Takes for a unary call, or fails.
    pub(crate) fn take(&mut self, cost: Cost) -> Result<(), BudgetExceeded> {
        let bound = if self.pending.is_empty() { self.bound } else { self.bound.quarter() };
        let fits = (self.used() + cost).within(self.bound) && (self.calls + cost).within(bound);
        if !fits {
            return Err(BudgetExceeded);
        }
        self.calls += cost;
        Ok(())
    }

    /// Adds a stream.
    pub(crate) fn open(&mut self) -> StreamId {
        let stream = StreamId(self.id());
        self.open.insert(stream, Cost::default());
        stream
    }

    /// Removes a stream. Its messages in flight count until they are released.
    pub(crate) fn close(&mut self, stream: StreamId) -> Vec<Ticket> {
        self.open.remove(&stream);
        self.pending.retain(|pending| pending.stream != stream);
        self.serve_queue()
    }

    /// Takes for a stream, or queues the take.
    pub(crate) fn take_or_queue(&mut self, stream: StreamId, cost: Cost) -> TakeResult {
        let ticket = Ticket(self.id());
        self.pending.push_back(PendingTake { ticket, stream, cost });
        let served = self.serve_queue();
        debug_assert!(served.iter().all(|&other| other == ticket), "a new take serves no other");
        if served.is_empty() { TakeResult::Queued(ticket) } else { TakeResult::Taken }
    }

    /// Leaves the queue. `None`: the ticket was no longer in it, so its cost has been taken.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Vec<Ticket>> {
        let place = self.pending.iter().position(|pending| pending.ticket == ticket)?;
        self.pending.remove(place);
        Some(self.serve_queue())
    }

    /// Releases a cost. Returns the tickets that were served.
    pub(crate) fn release(&mut self, holder: Holder, cost: Cost) -> Vec<Ticket> {
        match holder {
            Holder::Calls => self.calls -= cost,
            Holder::Stream(stream) => {
                self.streams -= cost;
                if let Some(held) = self.open.get_mut(&stream) {
                    *held -= cost;
                }
            }
        }
        self.serve_queue()
    }

    /// Returns the usage.
    pub(crate) fn used(&self) -> Cost {
        self.calls + self.streams
    }

    /// Returns the used fraction of the streams' share, in thousandths.
    pub(crate) fn pressure(&self) -> usize {
        let (used, bound) = (self.used(), self.bound.minus_quarter());
        let part = |used: usize, bound: usize| used.saturating_mul(1_000) / bound.max(1);
        part(used.messages, bound.messages).max(part(used.bytes, bound.bytes))
    }

    fn serve_queue(&mut self) -> Vec<Ticket> {
        let mut served = Vec::new();
        let mut place = 0;
        while let Some(pending) = self.pending.get(place) {
            match self.exceeded(pending.stream, pending.cost) {
                Some(Exceeded::Limit) => break,
                Some(Exceeded::Share) => place += 1,
                None => {
                    let Some(pending) = self.pending.remove(place) else { break };
                    self.streams += pending.cost;
                    *self.open.entry(pending.stream).or_default() += pending.cost;
                    served.push(pending.ticket);
                }
            }
        }
        served
    }

    fn exceeded(&self, stream: StreamId, cost: Cost) -> Option<Exceeded> {
        let all = self.bound.minus_quarter();
        if !(self.used() + cost).within(self.bound) || !(self.streams + cost).within(all) {
            return Some(Exceeded::Limit);
        }
        let held = self.open.get(&stream).copied().unwrap_or_default();
        let over = held != Cost::default() && !(held + cost).within(all.shared_by(self.open.len()));
        over.then_some(Exceeded::Share)
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Cost {
    /// The memory for a message besides its bytes: librdkafka's `rd_kafka_msg_t` (about 150 bytes),
    /// its list of headers, and the `PendingMessage`. With it, empty messages count too.
    pub(crate) const PER_MESSAGE_BYTES: usize = 256;

    /// The cost of one message with this many bytes of key, value and headers.
    pub(crate) fn of_message(bytes: usize) -> Self {
        Self { messages: 1, bytes: bytes + Self::PER_MESSAGE_BYTES }
    }

    fn within(self, bound: Self) -> bool {
        self.messages <= bound.messages && self.bytes <= bound.bytes
    }

    fn quarter(self) -> Self {
        Self { messages: self.messages / 4, bytes: self.bytes / 4 }
    }

    fn minus_quarter(self) -> Self {
        Self { messages: self.messages - self.messages / 4, bytes: self.bytes - self.bytes / 4 }
    }

    fn shared_by(self, holders: usize) -> Self {
        let holders = holders.max(1);
        Self { messages: self.messages / holders, bytes: self.bytes / holders }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

#[cfg(test)]
mod tests;
