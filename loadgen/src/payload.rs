//! The content of an event's value, which lets a receiver verify it: run, event, scheduled time,
//! and a checksum. Random padding fills it up to its size, so that compression gains nothing.

use bytes::Bytes;

/// The smallest value with this content.
pub(crate) const BYTES_MIN: usize = 36;

/// One event, as encoded in its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// The number of its key.
    pub(crate) key: u32,
    /// Its index among the events of its key, from 0.
    pub(crate) sequence: u64,
    /// When it was due, in nanoseconds after the start of the schedule.
    pub(crate) at_ns: u64,
}

/// Why a value is not an event of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// It is too short, or its checksum is wrong.
    Corrupt,
    /// It is intact, but from another run.
    OtherRun,
}

/// Encodes and decodes the values of one run.
#[derive(Debug)]
pub(crate) struct Format {
    run: u64,
    /// A value without the event.
    template: Vec<u8>,
}

impl Format {
    /// Creates the format for values of `bytes` bytes, at least [`BYTES_MIN`].
    pub(crate) fn new(run: u64, bytes: usize) -> Self {
        let mut template = vec![0; bytes.max(BYTES_MIN)];
        fastrand::Rng::with_seed(run).fill(&mut template);
        template[8..16].copy_from_slice(&run.to_le_bytes());
        Self { run, template }
    }

    /// Encodes an event.
    pub(crate) fn write(&self, event: &Event) -> Bytes {
        let mut value = self.template.clone();
        value[16..20].copy_from_slice(&event.key.to_le_bytes());
        value[20..28].copy_from_slice(&event.sequence.to_le_bytes());
        value[28..36].copy_from_slice(&event.at_ns.to_le_bytes());
        let sum = checksum(&value[8..]);
        value[..8].copy_from_slice(&sum.to_le_bytes());
        value.into()
    }

    /// Decodes an event.
    pub(crate) fn read(&self, value: &[u8]) -> Result<Event, PayloadError> {
        if value.len() < BYTES_MIN || checksum(&value[8..]).to_le_bytes() != value[..8] {
            return Err(PayloadError::Corrupt);
        }
        if value[8..16] != self.run.to_le_bytes() {
            return Err(PayloadError::OtherRun);
        }
        let key = value[16..20].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        Ok(Event { key, sequence: word(&value[20..28]), at_ns: word(&value[28..36]) })
    }
}

/// FNV-1a over 8-byte words, because over bytes it would cost more than the rest of a delivery.
/// Each step is a bijection, so a change within one word is always detected.
fn checksum(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    bytes
        .chunks(8)
        .fold(0xcbf2_9ce4_8422_2325 ^ length, |sum, chunk| (sum ^ word(chunk)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads up to 8 bytes as a little-endian number.
fn word(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(whole) => u64::from_le_bytes(whole),
        Err(_) => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_written_event_is_read_back(key: u32, sequence: u64, at_ns: u64, bytes in 0_usize..200) {
            let event = Event { key, sequence, at_ns };
            let format = Format::new(7, bytes);
            let value = format.write(&event);
            assert_eq!(value.len(), bytes.max(BYTES_MIN));
            assert_eq!(format.read(&value), Ok(event));
        }

        #[test]
        fn a_changed_byte_is_detected(bytes in 36_usize..200, at: proptest::sample::Index, change in 1..=u8::MAX) {
            let format = Format::new(7, bytes);
            let mut value = format.write(&Event { key: 1, sequence: 2, at_ns: 3 }).to_vec();
            value[at.index(bytes)] ^= change;
            assert_eq!(format.read(&value), Err(PayloadError::Corrupt));
        }

        #[test]
        fn a_truncated_value_is_detected(bytes in 36_usize..200, left: proptest::sample::Index) {
            let format = Format::new(7, bytes);
            let value = format.write(&Event { key: 1, sequence: 2, at_ns: 3 });
            assert_eq!(format.read(&value[..left.index(bytes)]), Err(PayloadError::Corrupt));
        }

        #[test]
        fn other_values_are_corrupt(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            assert_eq!(Format::new(7, 100).read(&value), Err(PayloadError::Corrupt));
        }
    }

    #[test]
    fn an_event_of_another_run_is_not_corrupt() {
        let value = Format::new(1, 64).write(&Event { key: 1, sequence: 2, at_ns: 3 });
        assert_eq!(Format::new(2, 64).read(&value), Err(PayloadError::OtherRun));
    }
}
