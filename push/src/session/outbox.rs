//! The bytes to write to one client, in two lanes.
//!
//! Replies, pings, errors and the drain notice are written before data, but never inside a
//! WebSocket message that has begun. Data is not queued: a message is gathered when the last one is
//! written, so a slow client gets the newest records at that time.
//!
//! Bounded: one message of data, and replies up to a limit at which the session stops reading from
//! the client. The unwritten rest of a message is copied when the socket blocks, so that a slow
//! client holds its own bytes and no chunk of a log, and is counted in the node's slow-client
//! buffer.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    Writer,
    rules::Room,
    waiting::{NoRoom, Waiting},
    websocket::{self, OpCode},
};
use crate::config::SessionsConfig;

/// The bytes to write to one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Frames that are being written, or are next.
    wire: VecDeque<Bytes>,
    /// Size of `wire` in bytes, until the last of it is written.
    wire_bytes: usize,
    /// Whether `wire` consists of slices of shared memory.
    is_shared: bool,
    /// Frames to write before the next message.
    control: VecDeque<Bytes>,
    control_bytes: usize,
    control_bytes_max: usize,
    message_bytes_max: usize,
    /// The answer to the last ping. RFC 6455 allows a pong for the most recent of several pings.
    pong: Option<Bytes>,
    /// The socket accepted nothing at the last attempt.
    is_blocked: bool,
    /// The socket did not accept all of the last message at once.
    was_blocked: bool,
    /// The socket accepted something after it had been blocked.
    has_progressed: bool,
    /// The writer may hold bytes that are not flushed.
    is_unflushed: bool,
    /// Bytes held by the writer after the last attempt.
    buffered: usize,
    waiting: Waiting,
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The connection is broken.
    #[error(transparent)]
    Lost(#[from] io::Error),
    /// The slow-client buffer limit is exceeded, and this client's socket has taken nothing for
    /// longest.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Maximum number of parts in one call to the kernel. Linux accepts 1,024; more than some dozens
/// gain nothing.
const PARTS_MAX: usize = 64;
/// Maximum number of parts that are not copied into one: with more, the kernel's work per part
/// costs more than the copy.
const PARTS_SHARED_MAX: usize = 8;
/// Maximum size of a message that is always copied into one buffer, in bytes: writing one buffer
/// instead of several saves more than the copy costs.
const COPY_BYTES_MAX: usize = 8 * 1024;
/// Divisor of the message size for a client that is behind: its unwritten bytes are what it costs.
const BEHIND_SHARE: usize = 4;
/// Divisor of the message size while the slow-client buffer is full. Most sockets accept that much
/// at once.
const FULL_SHARE: usize = 16;

impl Outbox {
    /// Makes an empty outbox, whose unwritten bytes are counted in `waiting`.
    pub(crate) fn new(limits: &SessionsConfig, waiting: Waiting) -> Self {
        Self {
            wire: VecDeque::new(),
            wire_bytes: 0,
            is_shared: false,
            control: VecDeque::new(),
            control_bytes: 0,
            control_bytes_max: limits.replies_bytes_max,
            message_bytes_max: limits.batch_bytes_max,
            pong: None,
            is_blocked: false,
            was_blocked: false,
            has_progressed: false,
            is_unflushed: false,
            buffered: 0,
            waiting,
        }
    }

    /// Adds a frame to write before data.
    pub(crate) fn push_control(&mut self, frame: Bytes) {
        self.control_bytes += frame.len();
        self.control.push_back(frame);
    }

    /// Adds a frame behind the message that was gathered last, to be written with it. Nothing of
    /// that message may have been written.
    pub(crate) fn push_behind(&mut self, frame: Bytes) {
        debug_assert!(self.control.is_empty(), "replies that wait go first");
        self.wire_bytes += frame.len();
        self.wire.push_back(frame);
    }

    /// Answers a ping. An unwritten answer to an earlier ping is replaced.
    pub(crate) fn push_pong(&mut self, payload: &[u8]) {
        self.pong = Some(websocket::frame(OpCode::Pong, payload));
    }

    /// Adds a message of data, made of shared parts of `bytes` bytes in total. Nothing may be on
    /// the wire.
    pub(crate) fn push_message(&mut self, opcode: OpCode, bytes: usize, parts: Vec<Bytes>) {
        debug_assert!(self.wire.is_empty(), "messages are gathered one at a time");
        self.was_blocked = false;
        self.is_shared = bytes > COPY_BYTES_MAX && parts.len() <= PARTS_SHARED_MAX;
        if self.is_shared {
            let header = websocket::header(opcode, bytes);
            self.wire_bytes = header.len() + bytes;
            self.wire.push_back(header);
            self.wire.extend(parts);
        } else {
            let message = websocket::message(opcode, bytes, &parts);
            self.wire_bytes = message.len();
            self.wire.push_back(message);
        }
    }

    /// Whether there is nothing to write or to flush.
    pub(crate) fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.control.is_empty() && self.pong.is_none() && !self.is_unflushed
    }

    /// Returns room for a message, unless a message has begun or replies are to be written first. A
    /// message that the writer still holds has begun: a second one would not have the newest
    /// records by the time it is written.
    pub(crate) fn room(&self) -> Option<Room> {
        let has_room = self.wire.is_empty() && self.control.is_empty() && !self.is_unflushed;
        has_room.then(|| Room { bytes: self.message_budget(), is_behind: self.was_blocked })
    }

    /// The client has caught up: no cursor has anything to deliver.
    pub(crate) fn has_caught_up(&mut self) {
        self.was_blocked = false;
    }

    /// Returns the size limit of the next message, in bytes: less while the client is behind or the
    /// slow-client buffer is full.
    fn message_budget(&self) -> usize {
        let share = match (self.waiting.is_full(), self.was_blocked) {
            (true, _) => FULL_SHARE,
            (false, true) => BEHIND_SHARE,
            (false, false) => 1,
        };
        (self.message_bytes_max / share).max(1)
    }

    /// Returns the bytes that a blocked socket has not accepted; 0 while it accepts some.
    fn waiting_bytes(&self) -> usize {
        let pong = self.pong.as_ref().map_or(0, Bytes::len);
        if self.is_blocked { self.wire_bytes + self.control_bytes + pong + self.buffered } else { 0 }
    }

    /// Whether there is room for the replies to more commands.
    pub(crate) fn has_room(&self) -> bool {
        self.control_bytes < self.control_bytes_max
    }

    /// Returns whether the socket accepted something since the last call, after it had been
    /// blocked.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Adds the close frame. From here on the session is not evicted for its unwritten bytes.
    pub(crate) fn close(&mut self, frame: Bytes) {
        self.push_control(frame);
        self.waiting.last();
    }

    /// Writes until everything is written. Progress is kept between calls, also from different
    /// threads.
    ///
    /// # Errors
    ///
    /// When the connection is broken, or when the slow-client buffer limit is exceeded and this
    /// client has been blocked for longest.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut impl Writer,
    ) -> Poll<Result<(), WriteError>> {
        let before = std::mem::take(&mut self.has_progressed);
        let polled = self.poll_write(context, writer);
        let buffered = writer.buffered();
        // A transport with a buffer of its own may send from it, and yet accept and flush nothing.
        self.has_progressed |= self.is_blocked && buffered < self.buffered;
        self.buffered = buffered;
        let has_moved = self.has_progressed;
        self.has_progressed |= before;
        // Counted here and not in the session's loop, which a blocked socket does not wake.
        if let Err(no_room) = self.waiting.count(self.waiting_bytes(), has_moved, context) {
            return Poll::Ready(Err(no_room.into()));
        }
        polled.map_err(WriteError::Lost)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, writer: &mut impl Writer) -> Poll<io::Result<()>> {
        loop {
            if self.wire.is_empty() {
                self.wire.append(&mut self.control);
                self.control_bytes = 0;
                self.wire.extend(self.pong.take());
                self.wire_bytes = self.wire.iter().map(Bytes::len).sum();
                self.is_shared = false;
            }
            if self.wire.is_empty() {
                let polled = Pin::new(&mut *writer).poll_flush(context);
                self.is_unflushed = polled.is_pending();
                self.note_blocked(polled.is_pending());
                return polled;
            }
            let polled = self.poll_write_wire(context, writer);
            if self.note_blocked(polled.is_pending()) {
                self.own_what_waits();
            }
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.advance(written);
        }
    }

    /// Notes whether the socket accepted anything at this attempt. Returns whether it is the first
    /// time that it blocked on this message.
    fn note_blocked(&mut self, is_blocked: bool) -> bool {
        // A socket that accepts everything at once shows nothing about the client: the kernel
        // accepts it.
        self.has_progressed |= self.is_blocked && !is_blocked;
        self.is_blocked = is_blocked;
        let is_first = is_blocked && !self.was_blocked;
        self.was_blocked |= is_blocked;
        is_first
    }

    fn poll_write_wire(
        &self,
        context: &mut Context<'_>,
        writer: &mut impl Writer,
    ) -> Poll<io::Result<usize>> {
        if let (1, Some(whole)) = (self.wire.len(), self.wire.front()) {
            return Pin::new(writer).poll_write(context, whole);
        }
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let filled =
            self.wire.iter().zip(&mut slices).map(|(part, slice)| *slice = IoSlice::new(part)).count();
        Pin::new(writer).poll_write_vectored(context, &slices[..filled])
    }

    /// Copies the unwritten rest, once per message, so that this client keeps no memory of others:
    /// a slice of a log keeps its whole chunk, even when the log has dropped that, and a buffer is
    /// kept until its last byte is written.
    ///
    /// A record that is larger than two full messages stays shared: copies would cost every slow
    /// client what one chunk costs all of them. Two, because the last record of a message may
    /// exceed its budget.
    fn own_what_waits(&mut self) {
        let left = self.wire.iter().map(Bytes::len).sum();
        if left < 2 * self.message_bytes_max && (self.is_shared || left < self.wire_bytes) {
            self.copy_wire(left);
        }
    }

    fn copy_wire(&mut self, bytes: usize) {
        let mut whole = BytesMut::with_capacity(bytes);
        self.wire.drain(..).for_each(|part| whole.extend_from_slice(&part));
        self.wire.push_back(whole.freeze());
        self.wire_bytes = bytes;
        self.is_shared = false;
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
        self.wire_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
