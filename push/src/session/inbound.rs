//! What comes from the client: RFC 6455 on top of fastwebsockets' frame parser.
//!
//! fastwebsockets 0.10 parses frames; what it leaves to its user is here: clients mask, control frames are short and
//! whole, fragments follow one another, messages are bounded as a whole and not only frame by frame, text is UTF-8 over
//! all its fragments, and each violation has its close code.
//!
//! Its parser takes 8 KiB before there is anything to read, and keeps them. Most clients say nothing for minutes, so there is
//! a parser only while there is a frame to parse, and memory for what comes only once it comes.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What comes from the client.
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

/// How the client broke the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: u16,
    pub(crate) why: &'static str,
}

/// Reads messages.
pub(crate) struct InboundReader<S> {
    stream: S,
    bytes_max: usize,
    /// What was read and is not parsed yet: the beginning of a frame, or some that came at once.
    ahead: BytesMut,
    /// The message of which some fragments have come.
    fragments: Option<Fragments>,
}

struct Fragments {
    is_text: bool,
    bytes: BytesMut,
    count: u32,
}

/// More fragments than this serve nobody: a message is bounded, and senders fragment by kilobytes.
const FRAGMENTS_MAX: u32 = 128;
/// The most that a control frame may carry, in bytes.
const CONTROL_BYTES_MAX: usize = 125;
/// The longest head of a frame, with its mask.
const HEAD_BYTES_MAX: usize = 14;
/// How much of a frame is read before its length is known. Commands are shorter.
const READ_BYTES: usize = 4096;

impl<S: AsyncRead + Unpin> InboundReader<S> {
    /// Reads from a connection after its handshake.
    pub(crate) fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, bytes_max, ahead: BytesMut::new(), fragments: None }
    }

    /// Reads the next message or control frame. Cancel safe: what was read stays.
    pub(crate) async fn next(&mut self) -> Result<Inbound, Violation> {
        loop {
            while let Some(frame) = self.take_frame()? {
                if let Some(inbound) = self.take(frame)? {
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

    /// Reads without having memory for it while there is nothing.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Takes the next frame out of what was read; `None` until it is whole. One that is too large is refused by its head.
    fn take_frame(&mut self) -> Result<Option<OwnedFrame>, Violation> {
        let Some(length) = frame_length(&self.ahead) else { return Ok(None) };
        // The parser refuses a frame at its limit, not only above it.
        let payload_max = self.bytes_max.max(CONTROL_BYTES_MAX) + 1;
        let missing = length.saturating_sub(self.ahead.len());
        if missing > 0 && length < payload_max + HEAD_BYTES_MAX {
            self.ahead.reserve(missing);
            return Ok(None);
        }
        let bytes = self.ahead.split_to(length.min(self.ahead.len()));
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        OwnedFrame::parse(&bytes, payload_max).map(Some)
    }

    fn take(&mut self, frame: OwnedFrame) -> Result<Option<Inbound>, Violation> {
        let OwnedFrame { opcode, is_final, payload } = frame;
        match opcode {
            OpCode::Ping => Ok(Some(Inbound::Ping(payload.freeze()))),
            OpCode::Pong => Ok(Some(Inbound::Pong)),
            OpCode::Close => close_code(&payload).map(|code| Some(Inbound::Close(code))),
            OpCode::Text | OpCode::Binary => self.start(opcode == OpCode::Text, is_final, payload),
            OpCode::Continuation => self.go_on(is_final, &payload),
        }
    }

    fn start(
        &mut self,
        is_text: bool,
        is_final: bool,
        payload: BytesMut,
    ) -> Result<Option<Inbound>, Violation> {
        if self.fragments.is_some() {
            return Err(protocol_error("a new message inside a fragmented one"));
        }
        if payload.len() > self.bytes_max {
            return Err(too_large());
        }
        if is_final {
            return message(is_text, payload).map(Some);
        }
        self.fragments = Some(Fragments { is_text, bytes: payload, count: 1 });
        Ok(None)
    }

    fn go_on(&mut self, is_final: bool, payload: &[u8]) -> Result<Option<Inbound>, Violation> {
        let Some(mut fragments) = self.fragments.take() else {
            return Err(protocol_error("a continuation of nothing"));
        };
        fragments.count += 1;
        if fragments.bytes.len() + payload.len() > self.bytes_max {
            return Err(too_large());
        }
        if fragments.count > FRAGMENTS_MAX {
            return Err(Violation { code: 1008, why: "too many fragments" });
        }
        fragments.bytes.extend_from_slice(payload);
        if is_final {
            return message(fragments.is_text, fragments.bytes).map(Some);
        }
        self.fragments = Some(fragments);
        Ok(None)
    }
}

/// A frame with a payload of its own, checked for what the parser does not check.
struct OwnedFrame {
    opcode: OpCode,
    is_final: bool,
    payload: BytesMut,
}

impl OwnedFrame {
    /// Parses the bytes of one frame, or of the head of one that the parser refuses by that.
    fn parse(bytes: &[u8], payload_max: usize) -> Result<Self, Violation> {
        let (mut frames, _) = fastwebsockets::after_handshake_split(bytes, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        frames.set_max_message_size(payload_max);
        let send_nothing = &mut |_| async { Ok::<(), io::Error>(()) };
        // What is there need not be waited for.
        match frames.read_frame(send_nothing).now_or_never() {
            Some(Ok(frame)) => Self::take(frame),
            Some(Err(error)) => Err(violation(&error)),
            None => Err(protocol_error("a malformed frame")),
        }
    }

    fn take(mut frame: Frame<'_>) -> Result<Self, Violation> {
        // `Frame` hides the mask that it came with, but writes the bit into the head that it would be sent with.
        let mut head = [0; 16];
        frame.fmt_head(&mut head);
        if head[1] & 0x80 == 0 {
            return Err(protocol_error("a frame from a client is not masked"));
        }
        let is_control = matches!(frame.opcode, OpCode::Close | OpCode::Ping | OpCode::Pong);
        if is_control && frame.payload.len() > CONTROL_BYTES_MAX {
            return Err(protocol_error("a control frame has more than 125 bytes"));
        }
        let payload = match frame.payload {
            Payload::Bytes(bytes) => bytes,
            other => BytesMut::from(&other[..]),
        };
        Ok(Self { opcode: frame.opcode, is_final: frame.fin, payload })
    }
}

fn message(is_text: bool, bytes: BytesMut) -> Result<Inbound, Violation> {
    if !is_text {
        return Ok(Inbound::Binary(bytes.freeze()));
    }
    if str::from_utf8(&bytes).is_err() {
        return Err(Violation { code: 1007, why: "a text message is not UTF-8" });
    }
    Ok(Inbound::Text(bytes.freeze()))
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(protocol_error("a close frame has half a code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455, section 7.4, and IANA's registry: 1004 to 1006 and 1015 are never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("a close code that may not be sent"));
    }
    if str::from_utf8(reason).is_err() {
        return Err(Violation { code: 1007, why: "a close reason is not UTF-8" });
    }
    Ok(Some(code))
}

/// Returns how long the frame is that begins here, with its head and in bytes; `None` until its head is whole.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let [_, code, extra @ ..] = bytes else { return None };
    let mask = if code & 0x80 == 0 { 0 } else { 4 };
    let (head, payload) = match code & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*extra.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*extra.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let payload = usize::try_from(payload).unwrap_or(usize::MAX);
    (bytes.len() >= head + mask).then(|| payload.saturating_add(head + mask))
}

fn violation(error: &WebSocketError) -> Violation {
    match error {
        WebSocketError::InvalidUTF8 => Violation { code: 1007, why: "a text message is not UTF-8" },
        WebSocketError::FrameTooLarge => too_large(),
        _ => protocol_error("a malformed frame"),
    }
}

fn protocol_error(why: &'static str) -> Violation {
    Violation { code: 1002, why }
}

fn too_large() -> Violation {
    Violation { code: 1009, why: "a message is larger than this node takes" }
}

#[cfg(test)]
mod tests;
