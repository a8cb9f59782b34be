//! The encodings of one record, made once and shared by every subscriber of its channel.
//!
//! Each encoding is a complete `ServerMessage` with one delivery. Protobuf merges repeated fields
//! on concatenation, and the JSON form is one message per line, so the concatenation of n encodings
//! is the batch of n records: a node never encodes a batch.
//!
//! The encoder reads borrowed slices and writes straight into the log. The generated encoder would
//! first need an owned value for every field. A property test compares the two.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{Offset, PartitionId, push::v1};

/// The wire formats, each a WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `tailcast.v1.proto`: binary messages.
    Proto,
    /// `tailcast.v1.json`: text messages, canonical ProtoJSON, one `ServerMessage` per line.
    Json,
}

/// The fields of one delivery, borrowed for encoding.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The channel's number on this node.
    pub alias: u32,
    /// The partition, if the channel spans several.
    pub partition: Option<PartitionId>,
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp in milliseconds since the Unix epoch; -1 for none.
    pub timestamp_ms: i64,
    /// The record's key, if the channel spans several and the record has one.
    pub key: Option<&'a [u8]>,
    /// The record's value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The record's headers as [`encode_header`] wrote them; empty if the subscription did not
    /// request them.
    pub headers: &'a [u8],
}

// Field numbers of `push.proto`. The property test below fails if one is wrong.
const SERVER_MESSAGE_FRAMES: u32 = 1;
const FRAME_DELIVERY: u32 = 2;
const ALIAS: u32 = 1;
const PARTITION: u32 = 2;
const OFFSET: u32 = 3;
const TIMESTAMP_MS: u32 = 4;
const KEY: u32 = 5;
const VALUE: u32 = 7;
const HEADERS: u32 = 9;

impl Delivery<'_> {
    /// Appends a `ServerMessage` with this one delivery to `out`.
    pub fn encode(&self, format: Format, out: &mut BytesMut) {
        match format {
            Format::Proto => self.encode_proto(out),
            Format::Json => self.encode_json(out),
        }
    }

    fn encode_proto(&self, out: &mut BytesMut) {
        let delivery = self.proto_len();
        let frame = key_len(FRAME_DELIVERY) + encoded_len_varint(delivery as u64) + delivery;
        out.reserve(key_len(SERVER_MESSAGE_FRAMES) + encoded_len_varint(frame as u64) + frame);

        encode_key(SERVER_MESSAGE_FRAMES, WireType::LengthDelimited, out);
        encode_varint(frame as u64, out);
        encode_key(FRAME_DELIVERY, WireType::LengthDelimited, out);
        encode_varint(delivery as u64, out);

        put_varint(ALIAS, self.alias.into(), out);
        if let Some(partition) = self.partition {
            // `optional`: 0 is written too, because absence has a different meaning.
            encode_key(PARTITION, WireType::Varint, out);
            encode_varint(partition.get().into(), out);
        }
        put_varint(OFFSET, self.offset.get().cast_unsigned(), out);
        put_varint(TIMESTAMP_MS, self.timestamp_ms.cast_unsigned(), out);
        put_bytes(KEY, self.key, out);
        put_bytes(VALUE, self.value, out);
        out.put_slice(self.headers);
    }

    /// Returns the length of the `Delivery` message in bytes.
    fn proto_len(&self) -> usize {
        let partition =
            |partition: PartitionId| key_len(PARTITION) + encoded_len_varint(partition.get().into());
        varint_len(ALIAS, self.alias.into())
            + self.partition.map_or(0, partition)
            + varint_len(OFFSET, self.offset.get().cast_unsigned())
            + varint_len(TIMESTAMP_MS, self.timestamp_ms.cast_unsigned())
            + bytes_len(KEY, self.key)
            + bytes_len(VALUE, self.value)
            + self.headers.len()
    }

    /// The JSON form is for people and small clients: it goes through the generated types.
    fn encode_json(&self, out: &mut BytesMut) {
        use v1::delivery::{KeyForm, ValueForm};

        let text_or = |bytes: &[u8]| {
            str::from_utf8(bytes).map(str::to_owned).map_err(|_| Bytes::copy_from_slice(bytes))
        };
        let delivery = v1::Delivery {
            alias: self.alias,
            partition: self.partition.map(PartitionId::get),
            offset: self.offset.get(),
            timestamp_ms: self.timestamp_ms,
            key_form: self.key.map(|key| text_or(key).map_or_else(KeyForm::Key, KeyForm::KeyText)),
            value_form: self.value.map(|value| text_or(value).map_or_else(ValueForm::Value, ValueForm::Text)),
            headers: decode_headers(self.headers),
            ..Default::default()
        };
        let frame = v1::Frame { id: 0, frame: Some(v1::frame::Frame::Delivery(delivery)) };
        encode_message(&v1::ServerMessage { frames: vec![frame] }, Format::Json, out);
    }
}

/// Appends any server message to `out`, so that it can be concatenated with deliveries.
pub fn encode_message(message: &v1::ServerMessage, format: Format, out: &mut BytesMut) {
    match format {
        Format::Proto => message.encode(out).expect("BytesMut grows as needed"),
        Format::Json => {
            serde_json::to_writer(out.writer(), message).expect("the generated types always serialise");
            out.put_u8(b'\n');
        }
    }
}

/// Appends one record header to `out`, in the form that [`Delivery::headers`] takes.
pub fn encode_header(name: &str, value: Option<&[u8]>, out: &mut BytesMut) {
    let header = v1::Header { name: name.to_owned(), value: value.map(Bytes::copy_from_slice) };
    encode_key(HEADERS, WireType::LengthDelimited, out);
    header.encode_length_delimited(out).expect("BytesMut grows as needed");
}

fn decode_headers(encoded: &[u8]) -> Vec<v1::Header> {
    // Headers written by `encode_header` are an encoded `Delivery` without other fields.
    v1::Delivery::decode(encoded).map(|delivery| delivery.headers).unwrap_or_default()
}

/// Writes a varint field; 0 is left out, as in proto3.
fn put_varint(field: u32, value: u64, out: &mut BytesMut) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn varint_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(field) + encoded_len_varint(value) }
}

/// Writes a member of a `oneof`, even if it is empty.
fn put_bytes(field: u32, value: Option<&[u8]>, out: &mut BytesMut) {
    if let Some(value) = value {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.put_slice(value);
    }
}

fn bytes_len(field: u32, value: Option<&[u8]>) -> usize {
    value.map_or(0, |value| key_len(field) + encoded_len_varint(value.len() as u64) + value.len())
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        option,
        prelude::{ProptestConfig, Strategy, any, proptest},
    };
    use v1::delivery::{KeyForm, ValueForm};

    use super::*;

    /// A delivery with owned values, so that it can be generated and compared.
    #[derive(Debug, Clone)]
    struct Owned {
        alias: u32,
        partition: Option<u32>,
        offset: i64,
        timestamp_ms: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    }

    impl Owned {
        fn encode(&self, format: Format, out: &mut BytesMut) {
            let mut headers = BytesMut::new();
            for (name, value) in &self.headers {
                encode_header(name, value.as_deref(), &mut headers);
            }
            let delivery = Delivery {
                alias: self.alias,
                partition: self.partition.map(PartitionId::new),
                offset: Offset::new(self.offset).expect("made at 0 or more"),
                timestamp_ms: self.timestamp_ms,
                key: self.key.as_deref(),
                value: self.value.as_deref(),
                headers: &headers,
            };
            delivery.encode(format, out);
        }

        fn expected(&self, format: Format) -> v1::Frame {
            let text = |bytes: &Vec<u8>| {
                (format == Format::Json).then(|| String::from_utf8(bytes.clone()).ok()).flatten()
            };
            let delivery = v1::Delivery {
                alias: self.alias,
                partition: self.partition,
                offset: self.offset,
                timestamp_ms: self.timestamp_ms,
                key_form: self
                    .key
                    .as_ref()
                    .map(|key| text(key).map_or_else(|| KeyForm::Key(key.clone().into()), KeyForm::KeyText)),
                value_form: self.value.as_ref().map(|value| {
                    text(value).map_or_else(|| ValueForm::Value(value.clone().into()), ValueForm::Text)
                }),
                headers: self
                    .headers
                    .iter()
                    .map(|(name, value)| v1::Header {
                        name: name.clone(),
                        value: value.clone().map(Bytes::from),
                    })
                    .collect(),
                ..Default::default()
            };
            v1::Frame { id: 0, frame: Some(v1::frame::Frame::Delivery(delivery)) }
        }
    }

    fn deliveries() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || vec(any::<u8>(), 0..300);
        let header = ("[a-z-]{1,12}", option::of(bytes()));
        let one = (
            any::<u32>(),
            option::of(0..i32::MAX.cast_unsigned()),
            0..i64::MAX,
            -1..i64::MAX,
            option::of(bytes()),
            option::of(bytes()),
            vec(header, 0..4),
        );
        vec(one, 0..20).prop_map(|all| {
            all.into_iter()
                .map(|(alias, partition, offset, timestamp_ms, key, value, headers)| Owned {
                    alias,
                    partition,
                    offset,
                    timestamp_ms,
                    key,
                    value,
                    headers,
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_concatenation_of_single_deliveries_decodes_to_one_message_with_all_in_order(all in deliveries()) {
            let mut batch = BytesMut::new();
            all.iter().for_each(|one| one.encode(Format::Proto, &mut batch));

            let decoded = v1::ServerMessage::decode(batch.freeze()).expect("the batch is a message");
            let expected: Vec<_> = all.iter().map(|one| one.expected(Format::Proto)).collect();
            assert_eq!(decoded.frames, expected);
        }

        #[test]
        fn a_single_delivery_is_encoded_as_the_generated_encoder_does(all in deliveries()) {
            for one in &all {
                let mut own = BytesMut::new();
                one.encode(Format::Proto, &mut own);
                let message = v1::ServerMessage { frames: vec![one.expected(Format::Proto)] };
                assert_eq!(own, message.encode_to_vec());
            }
        }

        #[test]
        fn json_is_one_message_per_line(all in deliveries()) {
            let mut batch = BytesMut::new();
            all.iter().for_each(|one| one.encode(Format::Json, &mut batch));

            let text = str::from_utf8(&batch).expect("JSON is UTF-8");
            let frames: Vec<_> = text
                .lines()
                .flat_map(|line| serde_json::from_str::<v1::ServerMessage>(line).expect("a line is a message").frames)
                .collect();
            let expected: Vec<_> = all.iter().map(|one| one.expected(Format::Json)).collect();
            assert_eq!(frames, expected);
        }
    }
}
