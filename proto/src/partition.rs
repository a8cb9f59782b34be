//! Partitions, offsets, and the partition that a key belongs to.

use std::fmt;

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(i32);

/// The number is not a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a partition; partitions are 0 to 2147483647")]
pub struct PartitionIdError(i64);

impl PartitionId {
    /// Makes a partition from a number.
    ///
    /// # Panics
    ///
    /// When the number is above `i32::MAX`, the limit of Kafka's protocol. Use `TryFrom` for
    /// untrusted numbers.
    #[must_use]
    pub fn new(partition: u32) -> Self {
        Self::try_from(partition).expect("a partition fits Kafka's int32")
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Returns the number in the type that Kafka's protocol and rdkafka use.
    #[must_use]
    pub fn kafka(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for PartitionId {
    type Error = PartitionIdError;

    fn try_from(partition: i32) -> Result<Self, PartitionIdError> {
        if partition < 0 { Err(PartitionIdError(partition.into())) } else { Ok(Self(partition)) }
    }
}

impl TryFrom<u32> for PartitionId {
    type Error = PartitionIdError;

    fn try_from(partition: u32) -> Result<Self, PartitionIdError> {
        i32::try_from(partition).map(Self).map_err(|_| PartitionIdError(partition.into()))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The offset of a record in a partition: 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// Makes an offset from a number; `None` if it is negative, as Kafka's logical offsets are.
    #[must_use]
    pub fn new(offset: i64) -> Option<Self> {
        (offset >= 0).then_some(Self(offset))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// Returns the offset after this one. A record may or may not have it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the number of offsets from `earlier` up to this one; 0 if this one is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the partition that a key belongs to, by the rule of Java's `DefaultPartitioner` and
/// librdkafka's `murmur2_random`.
///
/// # Panics
///
/// When `partitions` is 0: a topic has at least one.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a topic has at least one partition");
    PartitionId::new((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// Hashes bytes as `org.apache.kafka.common.utils.Utils.murmur2` does: MurmurHash2, 32 bits, with
/// Kafka's seed.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // The protocol limits keys to less than 4 GiB, and Java hashes the low 32 bits of the length.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_in_java() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn a_key_has_one_partition_among_those_there_are() {
        for partitions in [1, 2, 7, 100] {
            for key in 0..1000_u32 {
                assert!(partition_of_key(&key.to_be_bytes(), partitions).get() < partitions);
            }
        }
    }

    #[test]
    fn negative_numbers_are_neither_partitions_nor_offsets() {
        assert!(PartitionId::try_from(-1_i32).is_err());
        assert!(PartitionId::try_from(u32::MAX).is_err());
        assert_eq!(Offset::new(-1), None);
        assert_eq!(Offset::new(4).map(Offset::next), Offset::new(5));
    }

    #[test]
    fn the_distance_of_offsets_is_never_negative() {
        let (early, late) = (Offset(3), Offset(10));
        assert_eq!(late.since(early), 7);
        assert_eq!(early.since(late), 0);
    }
}
