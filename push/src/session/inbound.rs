//! Messages from the client: RFC 6455, with memory for a message only once it arrives.
//!
//! Clients mask, control frames are short and whole, fragments follow one another, messages are
//! bounded as a whole and not only frame by frame, text is UTF-8 over all its fragments, and each
//! violation has its close code. A frame whose header is invalid is rejected before its payload
//! arrives.
//!
//! fastwebsockets has a reader too. It is not cancel safe, takes 8 KiB before there is anything to
//! read and keeps them, and leaves half of these rules to its user; so only its unmasking is used.

mod head;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use fastwebsockets::OpCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use self::head::Head;

/// A message or control frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
    /// The connection ended without a close frame.
    End,
}

/// How the client violated the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: u16,
    pub(crate) why: &'static str,
}

/// Reads messages.
pub(crate) struct InboundReader<S> {
    stream: S,
    bytes_max: usize,
    /// Bytes that were read and not parsed yet: the beginning of a frame, or several frames that
    /// arrived together.
    ahead: BytesMut,
    /// The message of which some fragments have arrived.
    begun: Option<Message>,
}

/// A message, as far as it has arrived.
struct Message {
    is_text: bool,
    bytes: BytesMut,
    /// Number of fragments so far.
    count: u32,
}

/// Maximum number of fragments of a message. Messages are bounded, and senders fragment by
/// kilobytes.
const FRAGMENTS_MAX: u32 = 128;
/// Bytes read of a frame before its length is known. Commands are shorter.
const READ_BYTES: usize = 4096;

impl<S: AsyncRead + Unpin> InboundReader<S> {
    /// Reads from a connection after its handshake.
    pub(crate) fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, bytes_max, ahead: BytesMut::new(), begun: None }
    }

    /// Returns the stream. Bytes that were read ahead are lost.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// Reads the next message or control frame. Cancel safe: bytes that were read are kept.
    pub(crate) async fn next(&mut self) -> Result<Inbound, Violation> {
        loop {
            while let Some((head, payload)) = self.take_frame()? {
                if let Some(inbound) = self.take(head, payload)? {
                    return Ok(inbound);
                }
            }
            if !matches!(self.read_ahead().await, Ok(1..)) {
                return Ok(Inbound::End);
            }
        }
    }

    async fn read_ahead(&mut self) -> io::Result<usize> {
        if self.ahead.len() < self.ahead.capacity() {
            return self.stream.read_buf(&mut self.ahead).await;
        }
        poll_fn(|context| self.poll_first(context)).await
    }

    /// Reads without holding a buffer while there is nothing to read.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Takes the next frame; `None` until all of it was read.
    fn take_frame(&mut self) -> Result<Option<(Head, BytesMut)>, Violation> {
        let Some(head) = Head::parse(&self.ahead)? else { return Ok(None) };
        self.check(&head)?;
        let missing = head.frame_bytes().saturating_sub(self.ahead.len());
        if missing > 0 {
            self.ahead.reserve(missing);
            return Ok(None);
        }
        let frame = self.ahead.split_to(head.frame_bytes());
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Ok(Some((head, head.payload(frame))))
    }

    /// Checks that a frame may come next, and that its message stays within bounds.
    fn check(&self, head: &Head) -> Result<(), Violation> {
        match head.opcode {
            control if head::is_control(control) => return Ok(()),
            OpCode::Continuation if self.begun.is_none() => {
                return Err(protocol_error("continuation frame without a message"));
            }
            OpCode::Text | OpCode::Binary if self.begun.is_some() => {
                return Err(protocol_error("new message inside a fragmented one"));
            }
            _ => {}
        }
        let (bytes, count) = self.begun.as_ref().map_or((0, 0), |begun| (begun.bytes.len(), begun.count));
        if head.payload_bytes > self.bytes_max - bytes {
            return Err(Violation { code: 1009, why: "message size limit exceeded" });
        }
        if count >= FRAGMENTS_MAX {
            return Err(Violation { code: 1008, why: "fragment limit exceeded" });
        }
        Ok(())
    }

    /// Takes a frame that was checked. Returns the message that it completes.
    fn take(&mut self, head: Head, payload: BytesMut) -> Result<Option<Inbound>, Violation> {
        match head.opcode {
            OpCode::Ping => return Ok(Some(Inbound::Ping(payload.freeze()))),
            OpCode::Pong => return Ok(Some(Inbound::Pong)),
            OpCode::Close => return close_code(&payload).map(|code| Some(Inbound::Close(code))),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {}
        }
        let is_text = head.opcode == OpCode::Text;
        let mut message =
            self.begun.take().unwrap_or_else(|| Message { is_text, bytes: BytesMut::new(), count: 0 });
        message.count += 1;
        // Not copied when it is the first.
        message.bytes.unsplit(payload);
        if head.is_final {
            return message.end().map(Some);
        }
        self.begun = Some(message);
        Ok(None)
    }
}

impl Message {
    fn end(self) -> Result<Inbound, Violation> {
        if !self.is_text {
            return Ok(Inbound::Binary(self.bytes.freeze()));
        }
        if str::from_utf8(&self.bytes).is_err() {
            return Err(Violation { code: 1007, why: "text message is not valid UTF-8" });
        }
        Ok(Inbound::Text(self.bytes.freeze()))
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(protocol_error("truncated close code")) };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455, section 7.4, and IANA's registry: 1004 to 1006 and 1015 are never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("invalid close code"));
    }
    if str::from_utf8(reason).is_err() {
        return Err(Violation { code: 1007, why: "close reason is not valid UTF-8" });
    }
    Ok(Some(code))
}

fn protocol_error(why: &'static str) -> Violation {
    Violation { code: 1002, why }
}

#[cfg(test)]
mod tests;
