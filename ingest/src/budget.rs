//! The bound on what waits for Kafka: bytes and messages, over all callers.
//!
//! A `InFlightPermit` is held by the messages it was taken for until Kafka has answered the last of them, whatever became of the
//! call that brought them. So a caller that gives up and tries again cannot put more in flight than the bound.
//!
//! The rules are in `ledger`; here are the lock and the waiting.

mod ledger;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

pub(crate) use self::ledger::{BudgetExceeded, Cost};
use self::ledger::{Holder, Ledger, StreamId, TakeResult, Ticket};
use crate::metrics::InFlight;

/// What may be in flight. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InFlightBudget(Arc<SharedBudget>);

/// A stream's part in the budget. Dropping it gives up its place in queue, not what its messages hold.
#[derive(Debug)]
pub(crate) struct StreamBudget {
    budget: InFlightBudget,
    stream: StreamId,
}

/// What messages in flight hold; given back when dropped.
#[derive(Debug)]
pub(crate) struct InFlightPermit {
    budget: InFlightBudget,
    holder: Holder,
    cost: Cost,
}

#[derive(Debug)]
struct SharedBudget {
    state: Mutex<BudgetState>,
    gauges: InFlight,
}

#[derive(Debug)]
struct BudgetState {
    ledger: Ledger,
    /// One for every ticket in queue: at most one per stream, because a stream asks for one request at a time.
    queue: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A place in queue that is given up when dropped.
struct QueuedTake<'a> {
    budget: &'a StreamBudget,
    ticket: Ticket,
    cost: Cost,
    served: bool,
}

impl InFlightBudget {
    pub(crate) fn new(bound: Cost, gauges: InFlight) -> Self {
        let state = BudgetState { ledger: Ledger::new(bound), queue: HashMap::new() };
        Self(Arc::new(SharedBudget { state: Mutex::new(state), gauges }))
    }

    /// Takes for a unary call, or says that there is no room.
    pub(crate) fn take(&self, cost: Cost) -> Result<InFlightPermit, BudgetExceeded> {
        self.with(|state| state.ledger.take(cost))?;
        Ok(InFlightPermit { budget: self.clone(), holder: Holder::Calls, cost })
    }

    /// Enters a stream.
    pub(crate) fn open(&self) -> StreamBudget {
        StreamBudget { stream: self.with(|state| state.ledger.open()), budget: self.clone() }
    }

    /// How full the budget is for streams, in thousandths.
    pub(crate) fn pressure(&self) -> usize {
        self.lock().ledger.pressure()
    }

    /// Does something with the state, and shows what is in flight afterwards.
    fn with<T>(&self, act: impl FnOnce(&mut BudgetState) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        let used = state.ledger.used();
        self.0.gauges.set(used.messages, used.bytes);
        result
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamBudget {
    /// Takes for a request of the stream, when it is its turn.
    ///
    /// Cancel safe: dropping the future gives up the place in queue.
    pub(crate) async fn take(&self, cost: Cost) -> InFlightPermit {
        let asked = self.budget.with(|state| match state.ledger.take_or_queue(self.stream, cost) {
            TakeResult::Taken => None,
            TakeResult::Queued(ticket) => {
                let (served, turn) = oneshot::channel();
                state.queue.insert(ticket, served);
                Some((ticket, turn))
            }
        });
        if let Some((ticket, turn)) = asked {
            let mut place = QueuedTake { budget: self, ticket, cost, served: false };
            // The sender goes away unused only when the stream is closed, which the borrow of `self` rules out.
            let _closed = turn.await;
            place.served = true;
        }
        InFlightPermit { budget: self.budget.clone(), holder: Holder::Stream(self.stream), cost }
    }
}

impl BudgetState {
    fn call(&mut self, served: Vec<Ticket>) {
        for ticket in served {
            if let Some(turn) = self.queue.remove(&ticket) {
                // A future that was dropped meanwhile gives back what it was served when its `QueuedTake` is dropped.
                let _dropped = turn.send(());
            }
        }
    }
}

impl Drop for StreamBudget {
    fn drop(&mut self) {
        self.budget.with(|state| {
            let served = state.ledger.close(self.stream);
            state.call(served);
        });
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.budget.with(|state| {
            let served = state.ledger.release(self.holder, self.cost);
            state.call(served);
        });
    }
}

impl Drop for QueuedTake<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        self.budget.budget.with(|state| {
            state.queue.remove(&self.ticket);
            let served = state
                .ledger
                .leave(self.ticket)
                .unwrap_or_else(|| state.ledger.release(Holder::Stream(self.budget.stream), self.cost));
            state.call(served);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn budget(messages: usize) -> InFlightBudget {
        InFlightBudget::new(Cost { messages, bytes: messages }, InFlight::default())
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
        assert!(budget.lock().queue.is_empty());
    }
}
