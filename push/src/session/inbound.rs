//! What comes from the client: RFC 6455 on top of fastwebsockets' frame parser.
//!
//! fastwebsockets 0.10 parses frames; what it leaves to its user is here: clients mask, control frames are short and
//! whole, fragments follow one another, messages are bounded as a whole and not only frame by frame, text is UTF-8 over
//! all its fragments, and each violation has its close code.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead};
use tokio::io::AsyncRead;

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
    frames: WebSocketRead<S>,
    bytes_max: usize,
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

impl<S: AsyncRead + Unpin> InboundReader<S> {
    /// Reads from a connection after its handshake.
    pub(crate) fn new(stream: S, bytes_max: usize) -> Self {
        let (mut frames, _) = fastwebsockets::after_handshake_split(stream, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        // The parser refuses a frame at its limit, not only above it.
        frames.set_max_message_size(bytes_max.max(CONTROL_BYTES_MAX) + 1);
        Self { frames, bytes_max, fragments: None }
    }

    /// Reads the next message or control frame.
    ///
    /// Not cancel safe: the parser consumes headers before it waits for the rest. Drive it to its end.
    pub(crate) async fn next(&mut self) -> Result<Inbound, Violation> {
        loop {
            let send_nothing = &mut |_| async { Ok::<(), std::io::Error>(()) };
            let frame = match self.frames.read_frame(send_nothing).await {
                Ok(frame) => frame,
                Err(error) => return end_or_violation(&error),
            };
            let frame = OwnedFrame::take(frame)?;
            if let Some(inbound) = self.take(frame)? {
                return Ok(inbound);
            }
        }
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

fn end_or_violation(error: &WebSocketError) -> Result<Inbound, Violation> {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) => Ok(Inbound::End),
        WebSocketError::InvalidUTF8 => Err(Violation { code: 1007, why: "a text message is not UTF-8" }),
        WebSocketError::FrameTooLarge => Err(too_large()),
        _ => Err(protocol_error("a malformed frame")),
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
