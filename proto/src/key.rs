//! Keys of records, as used in channels.

use std::fmt;

use bytes::Bytes;

/// The key of a record, or a prefix of keys: 1 byte or more.
///
/// Kafka distinguishes a record without a key from one with an empty key. Both belong to
/// whole-topic channels only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// Why a key is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There are no bytes.
    #[error("the key is empty; a key has 1 byte or more (omit it for a record without a key)")]
    Empty,
    /// There are too many bytes.
    #[error("the key has {len} bytes; the limit is {max}", max = Key::LEN_MAX)]
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
}

impl Key {
    /// The maximum length of a key, in bytes. Kafka has no such limit; this one bounds the memory
    /// that the subscriptions of a session can use.
    pub const LEN_MAX: usize = 1024;

    /// Makes a key from bytes.
    ///
    /// # Errors
    ///
    /// When there are no bytes, or more than [`Key::LEN_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            len if len > Self::LEN_MAX => Err(KeyError::TooLong { len }),
            _ => Ok(Self(bytes)),
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.0)
    }
}
