//! The bytes that a push node writes for one delivery: a WebSocket header, and a `ServerMessage`
//! with the record.

use bytes::{BufMut as _, BytesMut};
use tailcast_proto::{
    Offset,
    delivery::{Delivery, Format},
};

/// FIN and opcode 2: a whole binary message.
const BINARY: u8 = 0x82;

/// Offset and time as in a topic in use: fewer digits would be fewer bytes.
const OFFSET: i64 = 1_000_000;
const TIMESTAMP_MS: i64 = 1_767_225_600_000;

/// Encodes a delivery with a value of this size, as a node does on a single-key channel.
pub(crate) fn frame(payload: u32) -> Vec<u8> {
    let value = vec![b'x'; usize::try_from(payload).expect("a u32 fits in a usize")];
    let delivery = Delivery {
        alias: 1,
        partition: None,
        offset: Offset::new(OFFSET).expect("it is not negative"),
        timestamp_ms: TIMESTAMP_MS,
        key: None,
        value: Some(&value),
        headers: &[],
    };
    let mut message = BytesMut::new();
    delivery.encode(Format::Proto, &mut message);

    let mut frame = vec![BINARY];
    match (u8::try_from(message.len()), u16::try_from(message.len())) {
        (Ok(short @ ..=125), _) => frame.put_u8(short),
        (_, Ok(medium)) => {
            frame.put_u8(126);
            frame.put_u16(medium);
        }
        (_, Err(_)) => {
            frame.put_u8(127);
            frame.put_u64(message.len() as u64);
        }
    }
    frame.extend_from_slice(&message);
    frame
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tailcast_proto::push::v1::{ServerMessage, delivery::ValueForm, frame::Frame as Kind};

    use super::*;

    #[track_caller]
    fn check(payload: u32, header: usize) {
        let frame = frame(payload);
        let message = ServerMessage::decode(&frame[header..]).expect("the rest is a message");
        let Some(Kind::Delivery(delivery)) = &message.frames[0].frame else {
            panic!("{message:?} is no delivery");
        };
        let Some(ValueForm::Value(value)) = &delivery.value_form else {
            panic!("{delivery:?} has no value");
        };
        assert_eq!(value.len(), payload as usize);
        assert_eq!(frame[0], 0x82);
    }

    #[test]
    fn a_frame_is_a_header_and_a_delivery_with_the_value() {
        check(50, 2);
        check(200, 4);
        check(512, 4);
        check(60_000, 4);
    }

    #[test]
    fn the_header_of_a_short_message_has_its_length_in_one_byte() {
        let frame = frame(50);
        assert_eq!(usize::from(frame[1]), frame.len() - 2);
    }

    #[test]
    fn the_header_of_a_longer_message_has_its_length_in_two_bytes() {
        let frame = frame(512);
        assert_eq!(frame[1], 126);
        assert_eq!(usize::from(u16::from_be_bytes([frame[2], frame[3]])), frame.len() - 4);
    }
}
