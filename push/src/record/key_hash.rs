//! Hashes that distinguish the keys of a channel, 16 bytes each.
//!
//! A log stores encodings, not records, and conflation has to know which of them have the same key.
//! The hash is two keyed SipHash-1-3 of 64 bits, with secrets of this process: among a billion
//! keys, the probability of a collision is 10⁻²¹, and nobody can provoke one.

use std::{
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::LazyLock,
};

/// The hash of a record's key. Records without a key have a hash of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash([u64; 2]);

static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

impl KeyHash {
    /// The hash of every record in a channel of one key.
    pub(crate) const ONLY: Self = Self([0; 2]);

    /// Hashes a key.
    pub(crate) fn of(key: Option<&[u8]>) -> Self {
        Self([SECRETS[0].hash_one(key), SECRETS[1].hash_one(key)])
    }
}

impl Hash for KeyHash {
    /// One of the two hashes is enough for a hash table.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_an_empty_key_and_others_are_distinguished() {
        let keys = [None, Some(b"".as_slice()), Some(b"a"), Some(b"b"), Some(b"ab")];
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(KeyHash::of(*one) == KeyHash::of(*other), i == j, "{one:?} {other:?}");
            }
        }
    }
}
