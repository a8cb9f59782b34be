//! The replies to a stream's caller, by example and by property against a plain model.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::outcome::{Failure, FailureReason};

fn conversation() -> Conversation {
    let mut conversation = Conversation::new(10);
    let Some(StreamReply::Response(first)) = conversation.next_reply(0) else {
        panic!("a stream begins with its credits")
    };
    assert_eq!(first.credits, 10);
    conversation
}

fn request(first_sequence: u64, messages: usize) -> v1::PublishStreamRequest {
    v1::PublishStreamRequest {
        first_sequence,
        messages: vec![v1::Message::default(); messages],
        want_positions: false,
    }
}

#[track_caller]
fn take(conversation: &mut Conversation, first_sequence: u64, messages: usize) {
    conversation.check_request(&request(first_sequence, messages)).expect("the sequence continues");
    conversation.take(first_sequence, messages);
}

fn acknowledged(sequence: u64) -> CompletedMessage {
    CompletedMessage {
        sequence,
        outcome: Outcome::of_acknowledgement(0, i64::try_from(sequence).expect("small")),
    }
}

fn refused(sequence: u64) -> CompletedMessage {
    CompletedMessage { sequence, outcome: Outcome::Refused(Failure::new(FailureReason::TooLarge, "a test")) }
}

/// The next reply, in short: `ack 1..=3, fail 4; credits 8`.
#[track_caller]
fn check(conversation: &mut Conversation, expected: &str) {
    let found = match conversation.next_reply(0) {
        None => "nothing".to_owned(),
        Some(StreamReply::End(End::Done)) => "done".to_owned(),
        Some(StreamReply::End(End::Failed(error))) => error.to_string(),
        Some(StreamReply::Response(response)) => {
            let acks =
                response.acks.iter().map(|r| format!("ack {}..={}", r.first_sequence, r.last_sequence));
            let failures = response.failures.iter().map(|failure| format!("fail {}", failure.sequence));
            let reported: Vec<_> = acks.chain(failures).collect();
            format!("{}; credits {}", reported.join(", "), response.credits)
        }
    };
    assert_eq!(found, expected);
}

#[test]
fn acknowledgements_come_in_ranges_and_in_order() {
    let mut conversation = conversation();
    take(&mut conversation, 7, 4);
    check(&mut conversation, "nothing");
    conversation.complete(acknowledged(8));
    check(&mut conversation, "nothing");
    conversation.complete(acknowledged(7));
    conversation.complete(acknowledged(10));
    check(&mut conversation, "ack 7..=8; credits 8");
    conversation.complete(acknowledged(9));
    check(&mut conversation, "ack 9..=10; credits 10");
    take(&mut conversation, 11, 1);
}

#[test]
fn a_failure_is_told_by_itself_and_parts_the_ranges() {
    let mut conversation = conversation();
    take(&mut conversation, 0, 3);
    conversation.complete(acknowledged(0));
    conversation.complete(refused(1));
    conversation.complete(acknowledged(2));
    check(&mut conversation, "ack 0..=0, ack 2..=2, fail 1; credits 10");
}

#[test]
fn a_jump_in_the_sequence_is_an_error_that_says_what_was_expected() {
    let mut conversation = conversation();
    take(&mut conversation, 5, 2);
    for found in [0, 6, 8] {
        let error = conversation.check_request(&request(found, 1)).expect_err("a jump");
        assert!(error.to_string().contains("must be 7"), "{error}");
    }
    conversation.check_request(&request(0, 0)).expect("an empty request has no sequence");
    conversation.check_request(&request(7, 1)).expect("it continues");
    assert!(Conversation::new(1).check_request(&request(u64::MAX, 1)).is_err());
}

#[test]
fn an_empty_request_is_answered_with_credits() {
    let mut conversation = conversation();
    take(&mut conversation, 0, 4);
    conversation.check_request(&request(0, 0)).expect("it asks for credits");
    check(&mut conversation, "; credits 6");
    check(&mut conversation, "nothing");
}

#[test]
fn advice_does_not_wait_for_an_acknowledgement_and_is_given_once() {
    let mut conversation = conversation();
    take(&mut conversation, 0, 4);
    conversation.request_response();
    conversation.request_response();
    check(&mut conversation, "; credits 6");
    check(&mut conversation, "nothing");
}

#[test]
fn positions_are_told_when_the_first_request_wants_them() {
    let mut conversation = conversation();
    conversation
        .check_request(&v1::PublishStreamRequest { want_positions: true, ..request(0, 1) })
        .expect("a request");
    conversation.take(0, 1);
    take(&mut conversation, 1, 1);
    conversation.complete(acknowledged(0));
    conversation.complete(acknowledged(1));
    let Some(StreamReply::Response(response)) = conversation.next_reply(0) else {
        panic!("there is a reply")
    };
    assert_eq!(response.acks[0].offsets, [0, 1]);
    assert_eq!(response.acks[0].partitions, [0, 0]);
}

#[test]
fn a_stream_ends_after_the_last_acknowledgement() {
    let mut conversation = conversation();
    take(&mut conversation, 0, 2);
    conversation.complete(acknowledged(0));
    conversation.end(End::Done);
    check(&mut conversation, "ack 0..=0; credits 9");
    check(&mut conversation, "nothing");
    conversation.complete(acknowledged(1));
    check(&mut conversation, "ack 1..=1; credits 10");
    check(&mut conversation, "done");
}

#[test]
fn an_error_is_told_after_everything_before_it_and_the_first_one_counts() {
    let mut conversation = conversation();
    take(&mut conversation, 0, 1);
    conversation.end(End::Failed(StreamError::Draining));
    conversation.end(End::Done);
    check(&mut conversation, "nothing");
    conversation.complete(refused(0));
    check(&mut conversation, "fail 0; credits 10");
    check(&mut conversation, &StreamError::Draining.to_string());
}

/// A step of a property test.
#[derive(Debug, Clone)]
enum Step {
    /// A request with so many messages, if there are credits.
    Request(usize),
    /// The completion of one message in flight, and whether Kafka has it.
    Complete(usize, bool),
    /// The response stream has room.
    Write,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_usize).prop_map(Step::Request),
        (0..100_usize, any::<bool>()).prop_map(|(which, ok)| Step::Complete(which, ok)),
        Just(Step::Write),
    ]
}

/// The plain model: every message and what became of it, and what was reported to the caller.
#[derive(Debug, Default)]
struct Model {
    sent: u64,
    in_flight: Vec<u64>,
    /// In the order of the sequence numbers: whether it was acknowledged.
    truth: Vec<Option<bool>>,
    reported: Vec<bool>,
}

impl Model {
    fn check_request(&mut self, response: &v1::PublishStreamResponse, first: u64, credits_max: usize) {
        let mut entries: Vec<(u64, bool)> = Vec::new();
        for range in &response.acks {
            assert!(range.first_sequence <= range.last_sequence);
            entries.extend((range.first_sequence..=range.last_sequence).map(|sequence| (sequence, true)));
        }
        assert!(entries.is_sorted(), "ranges come in order");
        entries.extend(response.failures.iter().map(|failure| (failure.sequence, false)));
        entries.sort_unstable();
        for (sequence, acknowledged) in entries {
            assert_eq!(
                sequence,
                first + self.reported.len() as u64,
                "each sequence number is reported once, in order"
            );
            self.reported.push(acknowledged);
        }
        let unreported = usize::try_from(self.sent).expect("small") - self.reported.len();
        assert_eq!(
            response.credits as usize + unreported,
            credits_max,
            "credits and unreported messages make the bound"
        );
    }
}

proptest! {
    /// Every message is acknowledged or failed exactly once, in order, as it truly ended, and
    /// credits stay in the bound.
    #[test]
    fn every_outcome_is_reported_once_in_order_and_correctly(
        first in 0..1_000_u64,
        steps in vec(step(), 0..300),
    ) {
        let credits_max = 10;
        let mut conversation = Conversation::new(credits_max);
        let mut model = Model::default();
        let finish = [Step::Write].into_iter().cycle().take(3);
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Request(n) if conversation.has_credits(n) => {
                    let next = first + model.sent;
                    conversation.check_request(&request(next, n)).expect("the sequence continues");
                    if n > 0 { conversation.take(next, n); }
                    model.in_flight.extend(next..next + n as u64);
                    model.truth.extend(std::iter::repeat_n(None, n));
                    model.sent += n as u64;
                }
                Step::Complete(which, ok) if !model.in_flight.is_empty() => {
                    let sequence = model.in_flight.swap_remove(which % model.in_flight.len());
                    conversation.complete(if ok { acknowledged(sequence) } else { refused(sequence) });
                    model.truth[usize::try_from(sequence - first).expect("small")] = Some(ok);
                }
                Step::Write => if let Some(StreamReply::Response(response)) = conversation.next_reply(0) {
                    model.check_request(&response, first, credits_max);
                },
                Step::Request(_) | Step::Complete(..) => {}
            }
        }
        // Whatever is left in flight ends, and then everything is reported.
        for sequence in std::mem::take(&mut model.in_flight) {
            conversation.complete(acknowledged(sequence));
            model.truth[usize::try_from(sequence - first).expect("small")] = Some(true);
        }
        conversation.end(End::Done);
        let mut ended = false;
        while let Some(next_reply) = conversation.next_reply(0) {
            match next_reply {
                StreamReply::Response(response) => model.check_request(&response, first, credits_max),
                StreamReply::End(end) => ended = matches!(end, End::Done),
            }
        }
        prop_assert!(ended);
        prop_assert_eq!(model.reported.iter().copied().map(Some).collect::<Vec<_>>(), model.truth);
    }
}
