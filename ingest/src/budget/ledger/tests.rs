//! The ledger's invariants, by example and by property.

use proptest::{collection::vec, prelude::*};

use super::*;

fn messages(messages: usize) -> Cost {
    Cost { messages, bytes: messages }
}

fn ledger(bound: usize) -> Ledger {
    Ledger::new(messages(bound))
}

/// Takes for a stream that is expected not to wait.
#[track_caller]
fn take(ledger: &mut Ledger, stream: StreamId, n: usize) {
    assert_eq!(ledger.take_or_queue(stream, messages(n)), TakeResult::Taken);
}

/// Takes for a stream that is expected to wait.
#[track_caller]
fn wait(ledger: &mut Ledger, stream: StreamId, n: usize) -> Ticket {
    match ledger.take_or_queue(stream, messages(n)) {
        TakeResult::Queued(ticket) => ticket,
        TakeResult::Taken => panic!("{n} were taken with {:?} used", ledger.used()),
    }
}

#[test]
fn a_unary_call_over_the_bound_is_refused_and_takes_nothing() {
    let mut ledger = ledger(100);
    assert_eq!(ledger.take(messages(60)), Ok(()));
    assert_eq!(ledger.take(messages(41)), Err(BudgetExceeded));
    assert_eq!(ledger.used(), messages(60));
    assert_eq!(ledger.take(messages(40)), Ok(()));
    assert_eq!(ledger.release(Holder::Calls, messages(60)), []);
    assert_eq!(ledger.take(messages(60)), Ok(()));
}

#[test]
fn bytes_and_messages_are_bounded_each() {
    let mut ledger = Ledger::new(Cost { messages: 10, bytes: 1_000 });
    assert_eq!(ledger.take(Cost { messages: 1, bytes: 1_001 }), Err(BudgetExceeded));
    assert_eq!(ledger.take(Cost { messages: 11, bytes: 1 }), Err(BudgetExceeded));
    assert_eq!(ledger.take(Cost { messages: 10, bytes: 1_000 }), Ok(()));
}

#[test]
fn streams_leave_a_quarter_to_unary_calls() {
    let mut ledger = ledger(100);
    let stream = ledger.open();
    take(&mut ledger, stream, 75);
    wait(&mut ledger, stream, 1);
    assert_eq!(ledger.take(messages(25)), Ok(()));
}

#[test]
fn unary_calls_cannot_starve_streams_that_wait() {
    let mut ledger = ledger(100);
    assert_eq!(ledger.take(messages(80)), Ok(()));
    let stream = ledger.open();
    let ticket = wait(&mut ledger, stream, 50);
    // There is room for 20 more, but the calls have more than their quarter and a stream is in
    // line.
    assert_eq!(ledger.take(messages(1)), Err(BudgetExceeded));
    assert_eq!(ledger.release(Holder::Calls, messages(80)), [ticket]);
    assert_eq!(ledger.take(messages(25)), Ok(()));
}

#[test]
fn streams_share_what_there_is() {
    let mut ledger = ledger(100);
    let (first, second, third) = (ledger.open(), ledger.open(), ledger.open());
    // The share of three is 25 of 75.
    take(&mut ledger, first, 25);
    let ticket = wait(&mut ledger, first, 1);
    // The first waits for its own messages and does not hold up the others.
    take(&mut ledger, second, 20);
    take(&mut ledger, third, 20);
    assert_eq!(ledger.release(Holder::Stream(first), messages(25)), [ticket]);
}

#[test]
fn a_stream_that_holds_nothing_may_exceed_its_share() {
    let mut ledger = ledger(100);
    let streams: Vec<_> = (0..10).map(|_| ledger.open()).collect();
    take(&mut ledger, streams[0], 60);
}

#[test]
fn the_line_is_served_in_order_so_that_a_large_request_is_not_overtaken() {
    let mut ledger = ledger(100);
    let (holder, large, small) = (ledger.open(), ledger.open(), ledger.open());
    take(&mut ledger, holder, 70);
    let first = wait(&mut ledger, large, 50);
    let second = wait(&mut ledger, small, 5);
    assert_eq!(ledger.release(Holder::Stream(holder), messages(40)), []);
    assert_eq!(ledger.release(Holder::Stream(holder), messages(30)), [first, second]);
}

#[test]
fn a_closed_stream_keeps_its_budget_until_kafka_has_answered() {
    let mut ledger = ledger(100);
    let (gone, other) = (ledger.open(), ledger.open());
    take(&mut ledger, gone, 70);
    let ticket = wait(&mut ledger, other, 70);
    assert_eq!(ledger.close(gone), []);
    assert_eq!(ledger.used(), messages(70));
    assert_eq!(ledger.release(Holder::Stream(gone), messages(70)), [ticket]);
}

#[test]
fn a_place_in_line_can_be_left() {
    let mut ledger = ledger(100);
    let (holder, first, second) = (ledger.open(), ledger.open(), ledger.open());
    take(&mut ledger, holder, 70);
    let ticket = wait(&mut ledger, first, 50);
    let behind = wait(&mut ledger, second, 5);
    assert_eq!(ledger.leave(ticket), Some(vec![behind]));
    assert_eq!(ledger.leave(behind), None);
}

/// A step of a property test.
#[derive(Debug, Clone)]
enum Step {
    Call(usize),
    Ask(usize, usize),
    Give(usize),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..30_usize).prop_map(Step::Call),
        (0..4_usize, 1..30_usize).prop_map(|(stream, n)| Step::Ask(stream, n)),
        (0..100_usize).prop_map(Step::Give),
        (0..4_usize).prop_map(Step::Close),
    ]
}

proptest! {
    /// Whatever happens, the bound holds; and when everything has been given back, nothing is used
    /// and nobody waits.
    #[test]
    fn the_bound_holds_and_everything_comes_back(steps in vec(step(), 0..200)) {
        let bound = messages(100);
        let mut ledger = Ledger::new(bound);
        let mut streams: Vec<_> = (0..4).map(|_| ledger.open()).collect();
        let mut held: Vec<(Holder, Cost)> = Vec::new();
        let mut waiting: BTreeMap<Ticket, (StreamId, Cost)> = BTreeMap::new();
        for step in steps {
            let mut served = Vec::new();
            match step {
                Step::Call(n) => if ledger.take(messages(n)).is_ok() {
                    held.push((Holder::Calls, messages(n)));
                },
                Step::Ask(stream, n) => match ledger.take_or_queue(streams[stream], messages(n)) {
                    TakeResult::Taken => held.push((Holder::Stream(streams[stream]), messages(n))),
                    TakeResult::Queued(ticket) => { waiting.insert(ticket, (streams[stream], messages(n))); }
                },
                Step::Give(which) if !held.is_empty() => {
                    let (holder, cost) = held.swap_remove(which % held.len());
                    served = ledger.release(holder, cost);
                }
                Step::Give(_) => {}
                Step::Close(stream) => {
                    served = ledger.close(streams[stream]);
                    waiting.retain(|_, (of, _)| *of != streams[stream]);
                    streams[stream] = ledger.open();
                }
            }
            for ticket in served {
                let (stream, cost) = waiting.remove(&ticket).expect("a served ticket was waiting");
                held.push((Holder::Stream(stream), cost));
            }
            let used = held.iter().fold(Cost::default(), |sum, (_, cost)| sum + *cost);
            prop_assert_eq!(ledger.used(), used);
            prop_assert!(used.within(bound));
        }
        while let Some((holder, cost)) = held.pop() {
            for ticket in ledger.release(holder, cost) {
                let (stream, cost) = waiting.remove(&ticket).expect("a served ticket was waiting");
                held.push((Holder::Stream(stream), cost));
            }
        }
        prop_assert_eq!(ledger.used(), Cost::default());
        prop_assert!(waiting.is_empty());
    }
}
