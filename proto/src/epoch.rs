//! Epochs: the incarnations of a topic.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The incarnation of a topic that offsets belong to: the topic's id in Kafka.
///
/// A topic that is deleted and created again gets a new epoch, in which offsets of the old one are
/// invalid. The text form is Kafka's: 22 characters of unpadded URL-safe base64, as
/// `kafka-topics --describe` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch([u8; 16]);

/// The text is not an epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an epoch; an epoch is a Kafka topic id, 22 characters of URL-safe base64")]
pub struct EpochError {
    found: String,
}

impl Epoch {
    /// Makes an epoch from the two halves of a topic id, as librdkafka and Java return them.
    #[must_use]
    pub fn from_bits(most: i64, least: i64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&most.to_be_bytes());
        bytes[8..].copy_from_slice(&least.to_be_bytes());
        Self(bytes)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| EpochError { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_that_of_kafka() {
        // `new Uuid(0x0123456789abcdefL, 0xfedcba9876543210L).toString()` in Java.
        let epoch = Epoch::from_bits(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210_u64.cast_signed());
        assert_eq!(epoch.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!("ASNFZ4mrze_-3LqYdlQyEA".parse(), Ok(epoch));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "x", "ASNFZ4mrze_-3LqYdlQyEA==", "ASNFZ4mrze/+3LqYdlQyEA", "ASNFZ4mrze_-3LqYdlQyEAAA"]
        {
            assert!(text.parse::<Epoch>().is_err(), "{text}");
        }
    }
}
