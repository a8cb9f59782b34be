//! WebSocket frames from server to client: unmasked and never fragmented, so that the payload can
//! be shared by all subscribers. RFC 6455, section 5.2.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpCode {
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

/// Maximum payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: usize = 125;

/// Returns the header of a frame with a payload of this many bytes.
pub(crate) fn header(opcode: OpCode, payload: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(10);
    put_header(opcode, payload, &mut header);
    header.freeze()
}

/// Returns a whole frame.
pub(crate) fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(10 + payload.len());
    put_header(opcode, payload.len(), &mut frame);
    frame.put_slice(payload);
    frame.freeze()
}

/// Returns a frame whose payload, of this many bytes in total, is in parts.
pub(crate) fn message(opcode: OpCode, payload: usize, parts: &[Bytes]) -> Bytes {
    // Exactly the size: a larger buffer is copied or reallocated when it is frozen.
    let mut frame = BytesMut::with_capacity(header_bytes(payload) + payload);
    put_header(opcode, payload, &mut frame);
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

/// Returns a close frame. A reason that is too long is cut, at a character's boundary.
pub(crate) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let Some(code) = code else { return frame(OpCode::Close, &[]) };
    let mut payload = BytesMut::with_capacity(CONTROL_BYTES_MAX);
    payload.put_u16(code);
    payload.put_slice(&reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)]);
    frame(OpCode::Close, &payload)
}

fn header_bytes(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn put_header(opcode: OpCode, payload: usize, out: &mut BytesMut) {
    const FINAL: u8 = 0x80;
    out.put_u8(FINAL | opcode as u8);
    if let (Ok(short), true) = (u8::try_from(payload), payload <= 125) {
        out.put_u8(short);
    } else if let Ok(medium) = u16::try_from(payload) {
        out.put_u8(126);
        out.put_u16(medium);
    } else {
        out.put_u8(127);
        out.put_u64(payload as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let length = |payload: usize| {
            let header = header(OpCode::Binary, payload);
            assert_eq!(header.len(), header_bytes(payload));
            header[1..].to_vec()
        };
        assert_eq!(length(0), [0]);
        assert_eq!(length(125), [125]);
        assert_eq!(length(126), [126, 0, 126]);
        assert_eq!(length(65_535), [126, 255, 255]);
        assert_eq!(length(65_536), [127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_reason_is_cut_to_what_a_control_frame_takes() {
        let frame = close(Some(4406), &"é".repeat(100));
        assert_eq!(frame[1], 124, "61 whole characters and the code");
        assert!(str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close(None, "unsaid"), Bytes::from_static(&[0x88, 0]));
    }
}
