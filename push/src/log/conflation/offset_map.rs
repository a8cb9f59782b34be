//! Which record of each key of a channel is the latest.
//!
//! A conflated subscription that is behind goes through what waits for it twice: once to learn which records are the latest,
//! and once to take those; in the log, and in pages where the log no longer has it. What was learnt is shared by all
//! subscribers of the channel, because a record that is the latest of its key from some offset on is so from every offset
//! between the two. Memory is a few words for each key, and nothing of a record.
//!
//! Invariant: for each key, the survey has an offset of a record of that key. It may be too old, where nobody has surveyed
//! yet or the bound was reached; then more is delivered than needed, and never less.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tailcast_proto::Offset;

use crate::record::key_hash::KeyHash;

/// How many keys the surveys of a node may have together.
#[derive(Debug)]
pub(crate) struct OffsetMapLimit {
    used: AtomicUsize,
    max: usize,
}

/// Takes a hash for what it is.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

/// Which record of each key is the latest.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    latest: HashMap<KeyHash, Offset, BuildHasherDefault<IdentityHasher>>,
    /// What has been surveyed: every record at or after the first and before the second.
    range: Option<(Offset, Offset)>,
    keys: Arc<OffsetMapLimit>,
}

impl OffsetMapLimit {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn reserve_key(&self) -> bool {
        let one_more = |used: usize| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}

impl OffsetMap {
    pub(crate) fn new(keys: Arc<OffsetMapLimit>) -> Self {
        Self { latest: HashMap::default(), range: None, keys }
    }

    /// Notes a record. At the bound a key that is new is left out, and its records are delivered as they are.
    pub(crate) fn note(&mut self, key: KeyHash, offset: Offset) {
        match self.latest.entry(key) {
            Entry::Occupied(mut known) => {
                let latest = known.get_mut();
                *latest = offset.max(*latest);
            }
            Entry::Vacant(new) if self.keys.reserve_key() => drop(new.insert(offset)),
            Entry::Vacant(_) => {}
        }
    }

    /// Notes that somebody who started at `from` has surveyed everything up to `to`.
    pub(crate) fn cover(&mut self, from: Offset, to: Offset) {
        self.range = match self.range {
            Some((first, last)) if from <= last && first <= to => Some((first.min(from), last.max(to))),
            // Two stretches that do not touch: the later one is what others are more likely to need.
            Some(known) if known.0 > to => Some(known),
            Some(_) | None => Some((from, to)),
        };
    }

    /// Returns from where on somebody who has surveyed up to `at` has to go on.
    pub(crate) fn skip(&self, at: Offset) -> Offset {
        self.range.filter(|(from, to)| *from <= at && at < *to).map_or(at, |(_, to)| to)
    }

    /// Whether no newer record of the key is known.
    pub(crate) fn is_latest(&self, key: KeyHash, offset: Offset) -> bool {
        self.latest.get(&key).is_none_or(|latest| *latest <= offset)
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A `KeyHash` writes a `u64`; this is for the trait.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Drop for OffsetMap {
    fn drop(&mut self) {
        self.keys.used.fetch_sub(self.latest.len(), Ordering::Relaxed);
    }
}
