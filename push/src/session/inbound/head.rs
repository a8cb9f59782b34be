//! The header of a frame from a client. RFC 6455, section 5.2.

use bytes::{Buf as _, BytesMut};
use fastwebsockets::{OpCode, unmask};

use super::{Violation, protocol_error};

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    /// Length of the payload.
    pub(super) payload_bytes: usize,
    mask: [u8; 4],
    head_bytes: usize,
}

/// Maximum payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: u8 = 125;

impl Head {
    /// Parses the header of the frame that begins here; `None` until all of it was read. A
    /// violation is reported from the first byte that shows it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(protocol_error("reserved bit set"));
        }
        let opcode = OpCode::try_from(first & 0x0f).map_err(|_| protocol_error("reserved opcode"))?;
        let is_final = first & 0x80 != 0;
        if is_control(opcode) && !is_final {
            return Err(protocol_error("fragmented control frame"));
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(protocol_error("client frame is not masked"));
        }
        let code = second & 0x7f;
        if is_control(opcode) && code > CONTROL_BYTES_MAX {
            return Err(protocol_error("control frame exceeds 125 bytes"));
        }
        let Some((payload, rest)) = length(code, rest) else { return Ok(None) };
        let least = [0, 126, 1 << 16][usize::from(code.saturating_sub(125))];
        if payload < least {
            return Err(protocol_error("length is not in its shortest form"));
        }
        let Some(mask) = rest.first_chunk() else { return Ok(None) };
        Ok(Some(Self {
            opcode,
            is_final,
            payload_bytes: usize::try_from(payload).unwrap_or(usize::MAX),
            mask: *mask,
            head_bytes: bytes.len() - rest.len() + mask.len(),
        }))
    }

    /// Returns the length of the frame. Its payload is known to be bounded.
    pub(super) fn frame_bytes(&self) -> usize {
        self.head_bytes + self.payload_bytes
    }

    /// Returns the unmasked payload of a whole frame.
    pub(super) fn payload(&self, mut frame: BytesMut) -> BytesMut {
        frame.advance(self.head_bytes);
        unmask(&mut frame, self.mask);
        frame
    }
}

/// Whether the frame is a control frame, which may arrive inside a fragmented message.
pub(super) fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// Returns the length of a payload, and the bytes after the length.
fn length(code: u8, bytes: &[u8]) -> Option<(u64, &[u8])> {
    match code {
        126 => bytes.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest)),
        127 => bytes.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest)),
        short => Some((short.into(), bytes)),
    }
}
