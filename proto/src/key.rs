//! The key of a record, as a channel names it.

use std::fmt;

use bytes::Bytes;

/// The key of a record, or the beginning of one: 1 byte or more.
///
/// Kafka tells a record without a key from one whose key is empty. No channel names either of them; they reach
/// whole-topic channels only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// Why bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There are no bytes.
    #[error("a key is empty; it has 1 byte or more (leave it out for a record without a key)")]
    Empty,
    /// There are too many bytes.
    #[error("a key has {len} bytes; at most {max} are allowed", max = Key::LEN_MAX)]
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
}

impl Key {
    /// The longest key of a channel, in bytes. Kafka has no bound of its own; this one keeps what a session can make a
    /// node remember small.
    pub const LEN_MAX: usize = 1024;

    /// Takes bytes as a key.
    ///
    /// # Errors
    ///
    /// When there are none, or more than [`Key::LEN_MAX`].
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
