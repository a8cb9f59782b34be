//! The ledger of lines, without a stream.

use tailcast_proto::ingest::v1::{Outcome, Reason, Refused, outcome};

use super::*;

fn lines(count: usize) -> Vec<Result<Message, LineError>> {
    (0..count).map(|_| Ok(Message::default())).collect()
}

fn ack(first: u64, last: u64) -> AckRange {
    let count = last - first + 1;
    AckRange {
        first_sequence: first,
        last_sequence: last,
        partitions: (0..count).map(|_| 3).collect(),
        offsets: (first..=last).map(|line| i64::try_from(line).expect("it is small") + 100).collect(),
    }
}

fn refusal(sequence: u64) -> Unacknowledged {
    let refused = Refused { reason: Reason::TooLarge.into(), detail: String::new() };
    let outcome = Outcome { result: Some(outcome::Result::Refused(refused)) };
    Unacknowledged { sequence, outcome: Some(outcome) }
}

/// Runs `script` on a ledger, and returns its output and exit code.
fn run(script: impl FnOnce(&mut Ledger<'_, &mut Vec<u8>>), ended: Result<(), Status>) -> (String, Exit) {
    let mut printed = Vec::new();
    let mut output = Output::new(&mut printed);
    let mut ledger = Ledger::new("t", &mut output);
    let greeting = ledger.take_waiting().expect("the stream is opened by a request without messages");
    assert!(greeting.messages.is_empty() && greeting.want_positions);
    script(&mut ledger);
    let exit = ledger.finish(ended).unwrap_or_else(|failure| failure.exit());
    drop(output);
    (String::from_utf8(printed).expect("positions are text"), exit)
}

#[test]
fn outcomes_are_printed_in_the_order_of_the_lines() {
    let (printed, exit) = run(
        |ledger| {
            ledger.read(lines(3));
            let request = ledger.take_waiting().expect("lines wait to be sent");
            assert_eq!((request.first_sequence, request.messages.len()), (1, 3));
            ledger.read(Vec::new());
            let acks = vec![ack(1, 1), ack(2, 3)];
            ledger.settle(PublishStreamResponse { acks, ..Default::default() }).expect("it is printed");
            assert!(ledger.has_sent_all());
        },
        Ok(()),
    );
    assert_eq!((printed.as_str(), exit), ("t/3/101\nt/3/102\nt/3/103\n", Exit::Done));
}

#[test]
fn a_refused_line_is_counted_and_the_others_are_printed() {
    let (printed, exit) = run(
        |ledger| {
            ledger.read(lines(3));
            ledger.take_waiting();
            ledger.read(Vec::new());
            let (acks, failures) = (vec![ack(1, 1), ack(3, 3)], vec![refusal(2)]);
            let answer = PublishStreamResponse { acks, failures, ..Default::default() };
            ledger.settle(answer).expect("it is printed");
        },
        Ok(()),
    );
    assert_eq!((printed.as_str(), exit), ("t/3/101\nt/3/103\n", Exit::Refused));
}

#[test]
fn a_stream_that_ends_early_is_a_failure_even_with_status_ok() {
    let sent_one = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
        ledger.read(lines(1));
        ledger.take_waiting();
        ledger.read(Vec::new());
    };
    assert_eq!(run(sent_one, Ok(())).1, Exit::Unavailable);
    // A message that ingest refuses is an invalid command line (64) only if nothing was sent.
    let invalid = || Status::invalid_argument("too large");
    assert_eq!(run(sent_one, Err(invalid())).1, Exit::Refused);
    assert_eq!(run(|_| {}, Err(invalid())).1, Exit::Usage);
    assert_eq!(run(|_| {}, Ok(())).1, Exit::Unavailable, "with input that had not ended");
}

#[test]
fn an_interruption_ends_the_input_and_is_not_a_success() {
    let settled = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
        ledger.read(lines(2));
        ledger.take_waiting();
        let acks = vec![ack(1, 2)];
        ledger.settle(PublishStreamResponse { acks, ..Default::default() }).expect("it is printed");
        ledger.read(lines(3));
        ledger.interrupt();
        assert!(ledger.has_sent_all(), "lines that were read and not sent stay unsent");
        assert!(ledger.unsettled().is_none(), "they were never sent");
    };
    assert_eq!(run(settled, Ok(())), ("t/3/101\nt/3/102\n".to_owned(), Exit::Refused));
    let unsettled = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
        ledger.read(lines(3));
        ledger.take_waiting();
        let acks = vec![ack(1, 1)];
        ledger.settle(PublishStreamResponse { acks, ..Default::default() }).expect("it is printed");
        ledger.interrupt();
        assert_eq!(ledger.unsettled().map(|lines| lines.to_string()).as_deref(), Some("2 to 3"));
    };
    assert_eq!(run(unsettled, Ok(())).1, Exit::Refused);
}

#[test]
fn the_number_of_unsettled_lines_is_limited() {
    run(
        |ledger| {
            let mut read = 0;
            while ledger.may_read() {
                ledger.read(lines(500));
                assert!(!ledger.may_read(), "a request waits already");
                ledger.take_waiting();
                read += 500;
            }
            assert_eq!(read, UNSETTLED_MAX);
            ledger
                .settle(PublishStreamResponse { acks: vec![ack(1, 1)], ..Default::default() })
                .expect("it is printed");
            assert!(ledger.may_read());
        },
        Ok(()),
    );
}

#[test]
fn an_invalid_line_ends_the_input() {
    // The exit code was 64 although lines before it were published.
    let (_, exit) = run(
        |ledger| {
            let broken = LineError::TooLong { number: 2 };
            ledger.read(vec![Ok(Message::default()), Err(broken)]);
            assert!(!ledger.may_read());
            ledger.take_waiting();
            ledger
                .settle(PublishStreamResponse { acks: vec![ack(1, 1)], ..Default::default() })
                .expect("it is printed");
        },
        Ok(()),
    );
    assert_eq!(exit, Exit::Refused);
    let first = |ledger: &mut Ledger<'_, &mut Vec<u8>>| {
        ledger.read(vec![Err(LineError::TooLong { number: 1 })]);
    };
    assert_eq!(run(first, Ok(())).1, Exit::Usage, "with nothing published");
}
