//! The two lanes against sockets that take a little at a time: order, and what a slow client holds.

use std::{num::NonZeroUsize, task::Waker};

use prometheus_client::metrics::gauge::Gauge;
use proptest::prelude::{ProptestConfig, proptest};

use tokio::io::AsyncWrite;

use super::*;
use crate::{config::tests::defaults, session::waiting::WaitingBudget};

/// Takes so many bytes at a call, and nothing at every other call.
struct Narrow {
    taken: Vec<u8>,
    width: NonZeroUsize,
    is_blocked: bool,
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_blocked = !self.is_blocked;
        if self.is_blocked {
            return Poll::Pending;
        }
        let taken = bytes.len().min(self.width.get());
        self.taken.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Takes everything at once, and keeps each write apart.
#[derive(Default)]
struct Whole {
    writes: Vec<Vec<u8>>,
}

impl AsyncWrite for Whole {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let taken = whole.len();
        self.writes.push(whole);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Writer for Narrow {
    fn buffered(&self) -> usize {
        0
    }
}

impl Writer for Whole {
    fn buffered(&self) -> usize {
        0
    }
}

/// Takes everything at once and holds it until the socket behind it takes it, as TLS does.
struct Holding {
    held: usize,
    is_stuck: bool,
}

impl AsyncWrite for Holding {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.held += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_stuck {
            return Poll::Pending;
        }
        self.held = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Writer for Holding {
    fn buffered(&self) -> usize {
        self.held
    }
}

fn narrow(width: usize) -> Narrow {
    Narrow {
        taken: Vec::new(),
        width: NonZeroUsize::new(width).expect("tests write something"),
        is_blocked: false,
    }
}

/// An outbox whose messages are full at 1,000 bytes.
fn outbox(replies_bytes_max: usize) -> Outbox {
    outbox_within(&WaitingBudget::new(Gauge::default(), usize::MAX), replies_bytes_max)
}

/// An outbox whose messages are full at 20,000 bytes: so large that their parts are not copied.
fn roomy_outbox() -> Outbox {
    let limits = SessionsConfig { batch_bytes_max: 20_000, ..defaults().sessions };
    Outbox::new(&limits, WaitingBudget::new(Gauge::default(), usize::MAX).waiting())
}

fn outbox_within(budget: &WaitingBudget, replies_bytes_max: usize) -> Outbox {
    let limits = SessionsConfig { batch_bytes_max: 1_000, replies_bytes_max, ..defaults().sessions };
    Outbox::new(&limits, budget.waiting())
}

fn flush_a_little(outbox: &mut Outbox, writer: &mut Narrow) -> bool {
    matches!(outbox.poll_flush(&mut Context::from_waker(Waker::noop()), writer), Poll::Ready(Ok(())))
}

#[test]
fn replies_wait_for_the_message_that_has_begun_and_go_before_the_next() {
    let (mut outbox, mut writer) = (outbox(100), narrow(3));
    outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"da"), Bytes::from_static(b"ta")]);
    assert!(!flush_a_little(&mut outbox, &mut writer));
    outbox.push_control(Bytes::from_static(b"reply"));
    outbox.push_pong(b"old");
    outbox.push_pong(b"new");
    while !flush_a_little(&mut outbox, &mut writer) {}
    assert_eq!(writer.taken, b"\x82\x04datareply\x8a\x03new");
}

#[test]
fn what_is_put_behind_a_message_goes_in_the_same_write() {
    // A heartbeat was a write of its own, which costs what a delivery costs.
    let (mut outbox, mut writer) = (outbox(100), Whole::default());
    outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"data")]);
    outbox.push_behind(Bytes::from_static(b"heartbeat"));
    outbox.push_control(Bytes::from_static(b"reply"));
    let polled = outbox.poll_flush(&mut Context::from_waker(Waker::noop()), &mut writer);
    assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
    assert_eq!(writer.writes, [b"\x82\x04dataheartbeat".as_slice(), b"reply"]);

    let mut writer = narrow(7);
    outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"data")]);
    outbox.push_behind(Bytes::from_static(b"heartbeat"));
    assert!(!flush_a_little(&mut outbox, &mut writer));
    assert_eq!(outbox.waiting_bytes(), 15);
    while !flush_a_little(&mut outbox, &mut writer) {}
    assert_eq!(writer.taken, b"\x82\x04dataheartbeat");
}

#[test]
fn a_blocked_socket_keeps_nothing_of_a_log() {
    // The rest of a message kept the chunks that it was cut from, 256 KiB each, for as long as the
    // client did not read.
    let (mut outbox, mut writer) = (roomy_outbox(), narrow(6_000));
    let chunk = Bytes::from(vec![b'x'; 256 * 1024]);
    outbox.push_message(OpCode::Binary, 16_000, vec![chunk.slice(..8_000), chunk.slice(100_000..108_000)]);
    assert!(!chunk.is_unique(), "a message shares what the log has");
    assert_eq!(outbox.waiting_bytes(), 0, "nothing waits before the socket was tried");

    assert!(!flush_a_little(&mut outbox, &mut writer));
    assert!(chunk.is_unique(), "the log's chunk is held for a client that does not read");
    assert_eq!(outbox.waiting_bytes(), 16_004);
    while !flush_a_little(&mut outbox, &mut writer) {}
    assert_eq!(writer.taken, websocket::frame(OpCode::Binary, &[b'x'; 16_000]));
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn what_is_written_of_a_message_is_not_held_with_the_rest() {
    let (mut outbox, mut writer) = (outbox(100), narrow(300));
    // So many parts are copied into one buffer at once; the first write takes 300 bytes of it.
    writer.is_blocked = true;
    outbox.push_message(OpCode::Binary, 900, vec![Bytes::from(vec![b'x'; 90]); 10]);
    assert!(!flush_a_little(&mut outbox, &mut writer));
    assert_eq!((writer.taken.len(), outbox.waiting_bytes()), (300, 604));
}

#[test]
fn a_record_larger_than_two_full_messages_stays_shared() {
    let (mut outbox, mut writer) = (roomy_outbox(), narrow(6_000));
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    outbox.push_message(OpCode::Binary, 100_000, vec![chunk.clone()]);
    assert!(!flush_a_little(&mut outbox, &mut writer));
    assert!(!chunk.is_unique(), "a copy would cost each slow client 100,000 bytes");
}

#[test]
fn a_client_that_is_behind_gets_smaller_messages_until_it_takes_one_at_once() {
    let (mut outbox, mut writer) = (outbox(100), narrow(300));
    assert_eq!(outbox.message_budget(), 1_000);
    outbox.push_message(OpCode::Binary, 900, vec![Bytes::from(vec![b'x'; 900])]);
    while !flush_a_little(&mut outbox, &mut writer) {}
    assert_eq!(outbox.message_budget(), 250);

    let mut wide = narrow(10_000);
    wide.is_blocked = true;
    outbox.push_message(OpCode::Binary, 200, vec![Bytes::from(vec![b'x'; 20]); 10]);
    assert!(flush_a_little(&mut outbox, &mut wide));
    assert_eq!(outbox.message_budget(), 1_000);
}

#[test]
fn when_as_much_waits_as_may_messages_get_small_and_nobody_is_closed_at_once() {
    let used = Gauge::default();
    let budget = WaitingBudget::new(used.clone(), 1_000);
    let message = || vec![Bytes::from(vec![b'x'; 700])];
    let (mut first, mut second) = (outbox_within(&budget, 100), outbox_within(&budget, 100));
    for outbox in [&mut first, &mut second] {
        outbox.push_message(OpCode::Binary, 700, message());
        assert!(
            outbox.poll_flush(&mut Context::from_waker(Waker::noop()), &mut narrow(1)).is_pending(),
            "it waits for a moment, as anybody may"
        );
    }
    assert_eq!(used.get(), 1_408);
    assert_eq!(outbox_within(&budget, 100).message_budget(), 62);

    drop(first);
    let mut wide = narrow(10_000);
    while !flush_a_little(&mut second, &mut wide) {}
    assert_eq!(used.get(), 0, "what is written does not wait");
}

#[test]
fn replies_beyond_the_bound_leave_no_room() {
    let mut outbox = outbox(6);
    outbox.push_control(Bytes::from_static(b"reply"));
    assert!(outbox.has_room());
    outbox.push_control(Bytes::from_static(b"reply"));
    assert!(!outbox.has_room());
    let mut writer = narrow(1_000);
    while !flush_a_little(&mut outbox, &mut writer) {}
    assert!(outbox.has_room() && outbox.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_the_socket_takes_at_a_time_all_parts_arrive_in_order(
        parts in proptest::collection::vec("[a-z]{1,50}", 1..30),
        width in 1..200_usize,
    ) {
        let (mut outbox, mut writer) = (outbox(100), narrow(width));
        let whole = parts.concat();
        outbox.push_message(OpCode::Text, whole.len(), parts.into_iter().map(Bytes::from).collect());
        while !flush_a_little(&mut outbox, &mut writer) {}
        assert_eq!(writer.taken, websocket::frame(OpCode::Text, whole.as_bytes()));
    }
}

#[test]
fn what_the_writer_holds_waits_for_the_client_until_it_is_flushed() {
    // The outbox called itself empty once the writer had everything, and a pending flush was not
    // polled again.
    let used = Gauge::default();
    let mut outbox = outbox_within(&WaitingBudget::new(used.clone(), usize::MAX), 100);
    let mut writer = Holding { held: 0, is_stuck: true };
    let mut context = Context::from_waker(Waker::noop());
    outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"data")]);
    assert!(outbox.poll_flush(&mut context, &mut writer).is_pending());
    assert!(!outbox.is_empty(), "the flush is to be polled again");
    assert!(outbox.room().is_none(), "the next message would wait in the writer, where nothing is conflated");
    assert!(outbox.was_blocked, "the client is behind");
    assert_eq!(used.get(), 6, "what the writer holds counts");

    writer.is_stuck = false;
    assert!(outbox.poll_flush(&mut context, &mut writer).is_ready());
    assert!(outbox.is_empty() && outbox.room().is_some());
    assert!(outbox.take_progress(), "the client lives");
    assert_eq!(used.get(), 0);
}

#[test]
fn a_client_that_drains_the_writers_buffer_makes_progress() {
    // Only a write or a whole flush counted, so a slow client of a transport with a large buffer
    // was closed as one that accepts nothing.
    let mut outbox = outbox(100);
    let mut writer = Holding { held: 0, is_stuck: true };
    let mut context = Context::from_waker(Waker::noop());
    outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"data")]);
    assert!(outbox.poll_flush(&mut context, &mut writer).is_pending());
    assert!(!outbox.take_progress(), "the client has accepted nothing");
    assert!(outbox.poll_flush(&mut context, &mut writer).is_pending());
    assert!(!outbox.take_progress(), "nor this time");
    writer.held -= 1;
    assert!(outbox.poll_flush(&mut context, &mut writer).is_pending());
    assert!(outbox.take_progress(), "it accepted a byte");
    assert!(!outbox.take_progress());
}
