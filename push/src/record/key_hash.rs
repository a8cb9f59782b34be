//! Telling the keys of a channel apart in 16 bytes.
//!
//! A log keeps encodings, not records, and conflating has to know which of them are of the same key. Two keyed SipHash-1-3
//! of 64 bits each, with secrets of this process: that two of a billion keys meet has a probability of 10⁻²¹, and nobody
//! can make them meet.

use std::{
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::LazyLock,
};

/// The key of a record, as far as conflation cares. Records without a key have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash([u64; 2]);

static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

impl KeyHash {
    /// What every record of a channel of one key has.
    pub(crate) const ONLY: Self = Self([0; 2]);

    /// Hashes a key.
    pub(crate) fn of(key: Option<&[u8]>) -> Self {
        Self([SECRETS[0].hash_one(key), SECRETS[1].hash_one(key)])
    }
}

impl Hash for KeyHash {
    /// Half of it is as good as any hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_an_empty_key_and_others_are_told_apart() {
        let keys = [None, Some(b"".as_slice()), Some(b"a"), Some(b"b"), Some(b"ab")];
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(KeyHash::of(*one) == KeyHash::of(*other), i == j, "{one:?} {other:?}");
            }
        }
    }
}
