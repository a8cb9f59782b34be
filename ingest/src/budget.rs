//! The bound on what waits for Kafka: bytes and messages, over all callers.
//!
//! A `Permit` is held by the messages it was taken for until Kafka has answered the last of them, whatever became of the
//! call that brought them. So a caller that gives up and tries again cannot put more in flight than the bound.
//!
//! The rules are in `ledger`; here are the lock and the waiting.

mod ledger;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use self::ledger::{Answer, Holder, Ledger, StreamId, Ticket};
pub(crate) use self::ledger::{Cost, Full};
use crate::metrics::InFlight;

/// What may be in flight. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Shared>);

/// A stream's part in the budget. Dropping it gives up its place in line, not what its messages hold.
#[derive(Debug)]
pub(crate) struct StreamBudget {
    budget: Budget,
    stream: StreamId,
}

/// What messages in flight hold; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Budget,
    holder: Holder,
    cost: Cost,
}

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    gauges: InFlight,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    /// One for every ticket in line: at most one per stream, because a stream asks for one request at a time.
    line: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A place in line that is given up when dropped.
struct Place<'a> {
    budget: &'a StreamBudget,
    ticket: Ticket,
    cost: Cost,
    served: bool,
}

impl Budget {
    pub(crate) fn new(bound: Cost, gauges: InFlight) -> Self {
        let books = Books { ledger: Ledger::new(bound), line: HashMap::new() };
        Self(Arc::new(Shared { books: Mutex::new(books), gauges }))
    }

    /// Takes for a unary call, or says that there is no room.
    pub(crate) fn take(&self, cost: Cost) -> Result<Permit, Full> {
        self.with(|books| books.ledger.take(cost))?;
        Ok(Permit { budget: self.clone(), holder: Holder::Calls, cost })
    }

    /// Enters a stream.
    pub(crate) fn open(&self) -> StreamBudget {
        StreamBudget { stream: self.with(|books| books.ledger.open()), budget: self.clone() }
    }

    /// How full the budget is for streams, in thousandths.
    pub(crate) fn pressure(&self) -> usize {
        self.lock().ledger.pressure()
    }

    /// Does something with the books, and shows what is in flight afterwards.
    fn with<T>(&self, act: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.lock();
        let result = act(&mut books);
        let used = books.ledger.used();
        self.0.gauges.set(used.messages, used.bytes);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamBudget {
    /// Takes for a request of the stream, when it is its turn.
    ///
    /// Cancel safe: dropping the future gives up the place in line.
    pub(crate) async fn take(&self, cost: Cost) -> Permit {
        let asked = self.budget.with(|books| match books.ledger.ask(self.stream, cost) {
            Answer::Taken => None,
            Answer::Wait(ticket) => {
                let (served, turn) = oneshot::channel();
                books.line.insert(ticket, served);
                Some((ticket, turn))
            }
        });
        if let Some((ticket, turn)) = asked {
            let mut place = Place { budget: self, ticket, cost, served: false };
            // The sender goes away unused only when the stream is closed, which the borrow of `self` rules out.
            let _closed = turn.await;
            place.served = true;
        }
        Permit { budget: self.budget.clone(), holder: Holder::Stream(self.stream), cost }
    }
}

impl Books {
    fn call(&mut self, served: Vec<Ticket>) {
        for ticket in served {
            if let Some(turn) = self.line.remove(&ticket) {
                // A future that was dropped meanwhile gives back what it was served when its `Place` is dropped.
                let _dropped = turn.send(());
            }
        }
    }
}

impl Drop for StreamBudget {
    fn drop(&mut self) {
        self.budget.with(|books| {
            let served = books.ledger.close(self.stream);
            books.call(served);
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.with(|books| {
            let served = books.ledger.give(self.holder, self.cost);
            books.call(served);
        });
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        self.budget.budget.with(|books| {
            books.line.remove(&self.ticket);
            let served = books
                .ledger
                .leave(self.ticket)
                .unwrap_or_else(|| books.ledger.give(Holder::Stream(self.budget.stream), self.cost));
            books.call(served);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn budget(messages: usize) -> Budget {
        Budget::new(Cost { messages, bytes: messages }, InFlight::default())
    }

    fn cost(messages: usize) -> Cost {
        Cost { messages, bytes: messages }
    }

    #[test]
    fn a_dropped_permit_lets_the_next_stream_in_line_go_on() {
        let budget = budget(100);
        let (first, second) = (budget.open(), budget.open());
        let permit = first.take(cost(75)).now_or_never().expect("there is room");
        let mut waiting = Box::pin(second.take(cost(10)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(permit);
        let permit = waiting.now_or_never().expect("the room is given back");
        assert_eq!(budget.lock().ledger.used(), cost(10));
        drop(permit);
        assert_eq!(budget.lock().ledger.used(), cost(0));
    }

    #[test]
    fn a_dropped_wait_gives_back_what_it_was_served() {
        let budget = budget(100);
        let (first, second) = (budget.open(), budget.open());
        let permit = first.take(cost(75)).now_or_never().expect("there is room");
        let mut waiting = Box::pin(second.take(cost(10)));
        assert!(waiting.as_mut().now_or_never().is_none());
        // It is served, and dropped before it notices.
        drop(permit);
        assert_eq!(budget.lock().ledger.used(), cost(10));
        drop(waiting);
        assert_eq!(budget.lock().ledger.used(), cost(0));
        assert!(budget.lock().line.is_empty());
    }
}
