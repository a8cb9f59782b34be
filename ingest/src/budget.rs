//! The limit on messages and bytes in flight to Kafka, over all callers.
//!
//! The messages of a request share an `InFlightPermit` until Kafka has answered the last of them,
//! even if the call has ended. So a caller that gives up and tries again cannot exceed the limit.
//!
//! The rules are in `ledger`; this file has the lock and the queue.

mod ledger;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

pub(crate) use self::ledger::{BudgetExceeded, Cost};
use self::ledger::{Holder, Ledger, StreamId, TakeResult, Ticket};
use crate::metrics::InFlight;

/// The limit on messages and bytes in flight. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InFlightBudget(Arc<SharedBudget>);

/// A stream's share of the budget. Dropping it cancels the stream's queued take; its messages in
/// flight keep their permits.
#[derive(Debug)]
pub(crate) struct StreamBudget {
    budget: InFlightBudget,
    stream: StreamId,
}

/// The cost of messages in flight; released when dropped.
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
    /// One sender for each ticket in the queue: at most one per stream, because a stream takes for
    /// one request at a time.
    queue: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A queued take, cancelled when dropped.
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

    /// Takes for a unary call, or fails at once.
    pub(crate) fn take(&self, cost: Cost) -> Result<InFlightPermit, BudgetExceeded> {
        self.with(|state| state.ledger.take(cost))?;
        Ok(InFlightPermit { budget: self.clone(), holder: Holder::Calls, cost })
    }

    /// Adds a stream.
    pub(crate) fn open(&self) -> StreamBudget {
        StreamBudget { stream: self.with(|state| state.ledger.open()), budget: self.clone() }
    }

    /// Returns the used fraction of the streams' share, in thousandths.
    pub(crate) fn pressure(&self) -> usize {
        self.lock().ledger.pressure()
    }

    /// Changes the state, and updates the gauges.
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
    /// Takes for a request of the stream, and waits in the queue if necessary.
    ///
    /// Cancel safe: dropping the future leaves the queue.
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
            // The sender is dropped unused only when the stream closes, which the borrow of `self`
            // rules out.
            let _closed = turn.await;
            place.served = true;
        }
        InFlightPermit { budget: self.budget.clone(), holder: Holder::Stream(self.stream), cost }
    }
}

impl BudgetState {
    fn notify(&mut self, served: Vec<Ticket>) {
        for ticket in served {
            if let Some(turn) = self.queue.remove(&ticket) {
                // If the future was dropped in the meantime, its `QueuedTake` releases the cost.
                let _dropped = turn.send(());
            }
        }
    }
}

impl Drop for StreamBudget {
    fn drop(&mut self) {
        self.budget.with(|state| {
            let served = state.ledger.close(self.stream);
            state.notify(served);
        });
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.budget.with(|state| {
            let served = state.ledger.release(self.holder, self.cost);
            state.notify(served);
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
            state.notify(served);
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
    fn a_dropped_permit_serves_the_next_stream_in_the_queue() {
        let budget = budget(100);
        let (first, second) = (budget.open(), budget.open());
        let permit = first.take(cost(75)).now_or_never().expect("there is room");
        let mut waiting = Box::pin(second.take(cost(10)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(permit);
        let permit = waiting.now_or_never().expect("the cost is released");
        assert_eq!(budget.lock().ledger.used(), cost(10));
        drop(permit);
        assert_eq!(budget.lock().ledger.used(), cost(0));
    }

    #[test]
    fn a_dropped_wait_releases_its_cost() {
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
