//! What waits to be written to one client, in two lanes.
//!
//! Replies, pings, errors and the drain notice are written before data that waits, but never inside a WebSocket message
//! that has begun. Data does not wait here: a message is gathered when the one before it is written, so that a client
//! that is slow finds in it what is newest then.
//!
//! Bounded: one message of data, and replies up to a bound at which the session stops reading from the client.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::websocket::{self, OpCode};

/// What waits to be written to one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// What has begun, or is next.
    wire: VecDeque<Bytes>,
    /// Whole frames that go before the next message.
    control: VecDeque<Bytes>,
    control_bytes: usize,
    control_bytes_max: usize,
    /// The answer to the last ping. RFC 6455 lets a pong answer the most recent of several pings.
    pong: Option<Bytes>,
    /// The socket took nothing at the last try.
    is_blocked: bool,
    /// The socket did not take the last message at once.
    was_blocked: bool,
    /// The socket took something after it had taken nothing.
    has_progressed: bool,
}

/// How many parts go to the kernel in one call. Linux takes 1,024; beyond some dozens nothing is gained.
const PARTS_MAX: usize = 64;
/// Messages of more parts than this are copied into one: beyond it the kernel's work per part costs more than the copy.
const PARTS_SHARED_MAX: usize = 8;

impl Outbox {
    pub(crate) fn new(control_bytes_max: usize) -> Self {
        Self {
            wire: VecDeque::new(),
            control: VecDeque::new(),
            control_bytes: 0,
            control_bytes_max,
            pong: None,
            is_blocked: false,
            was_blocked: false,
            has_progressed: false,
        }
    }

    /// Adds a whole frame that goes before data.
    pub(crate) fn push_control(&mut self, frame: Bytes) {
        self.control_bytes += frame.len();
        self.control.push_back(frame);
    }

    /// Answers a ping. An answer that still waits is replaced.
    pub(crate) fn push_pong(&mut self, payload: &[u8]) {
        self.pong = Some(websocket::frame(OpCode::Pong, payload));
    }

    /// Begins a message of data, made of shared parts that are together `bytes` long. Nothing may be on the wire.
    pub(crate) fn push_message(&mut self, opcode: OpCode, bytes: usize, parts: Vec<Bytes>) {
        debug_assert!(self.wire.is_empty(), "messages are gathered one at a time");
        self.was_blocked = false;
        if parts.len() > PARTS_SHARED_MAX {
            let mut whole = BytesMut::with_capacity(bytes + 10);
            whole.extend_from_slice(&websocket::header(opcode, bytes));
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            self.wire.push_back(whole.freeze());
        } else {
            self.wire.push_back(websocket::header(opcode, bytes));
            self.wire.extend(parts);
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.control.is_empty() && self.pong.is_none()
    }

    /// Whether nothing has begun, so that a message may be gathered once the replies are written.
    pub(crate) fn wants_message(&self) -> bool {
        self.wire.is_empty() && self.control.is_empty()
    }

    /// Whether the client had no room for all of the last message at once: it is behind.
    pub(crate) fn was_blocked(&self) -> bool {
        self.was_blocked
    }

    /// Nothing waits for the client any more: it has caught up.
    pub(crate) fn has_caught_up(&mut self) {
        self.was_blocked = false;
    }

    /// Whether there is room for the replies to more commands.
    pub(crate) fn has_room(&self) -> bool {
        self.control_bytes < self.control_bytes_max
    }

    /// Whether the client has made room for something since this was last asked: it lives, however slowly it takes.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Writes until everything is written. Cancel safe: what is written is remembered.
    pub(crate) async fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_flush(context, writer)).await
    }

    fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            if self.wire.is_empty() {
                self.wire.append(&mut self.control);
                self.control_bytes = 0;
                self.wire.extend(self.pong.take());
            }
            if self.wire.is_empty() {
                // Under TLS the last record may still be in a buffer.
                return Pin::new(&mut *writer).poll_flush(context);
            }
            let mut slices = [IoSlice::new(&[]); PARTS_MAX];
            let filled =
                self.wire.iter().zip(&mut slices).map(|(part, slice)| *slice = IoSlice::new(part)).count();
            let polled = Pin::new(&mut *writer).poll_write_vectored(context, &slices[..filled]);
            // A socket that takes all at once tells nothing of the client: the kernel does.
            self.has_progressed |= self.is_blocked && polled.is_ready();
            self.is_blocked = polled.is_pending();
            self.was_blocked |= self.is_blocked;
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.wire.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.wire.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures_util::FutureExt as _;
    use proptest::prelude::{ProptestConfig, proptest};

    use super::*;

    /// Takes so many bytes at a call, and nothing at every other call.
    struct Narrow {
        taken: Vec<u8>,
        width: NonZeroUsize,
        is_blocked: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
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

    fn narrow(width: usize) -> Narrow {
        Narrow {
            taken: Vec::new(),
            width: NonZeroUsize::new(width).expect("tests write something"),
            is_blocked: false,
        }
    }

    fn flush_a_little(outbox: &mut Outbox, writer: &mut Narrow) -> bool {
        outbox.flush(writer).now_or_never().is_some_and(|result| result.is_ok())
    }

    #[test]
    fn replies_wait_for_the_message_that_has_begun_and_go_before_the_next() {
        let (mut outbox, mut writer) = (Outbox::new(100), narrow(3));
        outbox.push_message(OpCode::Binary, 4, vec![Bytes::from_static(b"da"), Bytes::from_static(b"ta")]);
        assert!(!flush_a_little(&mut outbox, &mut writer));
        outbox.push_control(Bytes::from_static(b"reply"));
        outbox.push_pong(b"old");
        outbox.push_pong(b"new");
        while !flush_a_little(&mut outbox, &mut writer) {}
        assert_eq!(writer.taken, b"\x82\x04datareply\x8a\x03new");
    }

    #[test]
    fn replies_beyond_the_bound_leave_no_room() {
        let mut outbox = Outbox::new(6);
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
            let (mut outbox, mut writer) = (Outbox::new(100), narrow(width));
            let whole = parts.concat();
            outbox.push_message(OpCode::Text, whole.len(), parts.into_iter().map(Bytes::from).collect());
            while !flush_a_little(&mut outbox, &mut writer) {}
            assert_eq!(writer.taken, websocket::frame(OpCode::Text, whole.as_bytes()));
        }
    }
}
