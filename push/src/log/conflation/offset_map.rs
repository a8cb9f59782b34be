//! The offset of the latest record of each key of a channel.
//!
//! A conflated subscription that is behind reads its backlog twice: the first pass fills the map,
//! the second delivers the records at the offsets in it. Both read the log, or pages where the log
//! was evicted. All subscribers of a channel share the map, because the latest record of a key from
//! some offset on is also the latest from every offset in between. It takes a few words for each
//! key, and stores no records.
//!
//! Invariant: the offset stored for a key is that of a record with the key. It may not be the
//! latest, where no cursor has scanned yet or the limit was reached. Then more records are
//! delivered than necessary, never fewer.

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

/// The limit of keys in all offset maps of a node.
#[derive(Debug)]
pub(crate) struct OffsetMapLimit {
    used: AtomicUsize,
    max: usize,
}

/// Uses a `KeyHash` as its own hash.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

/// The offset of the latest record of each key.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    latest: HashMap<KeyHash, Offset, BuildHasherDefault<IdentityHasher>>,
    /// The range that was scanned: every record at or after the first offset and before the second.
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

    /// Adds a record. At the limit, a new key is not stored, and all its records are delivered.
    pub(crate) fn insert(&mut self, key: KeyHash, offset: Offset) {
        match self.latest.entry(key) {
            Entry::Occupied(mut known) => {
                let latest = known.get_mut();
                *latest = offset.max(*latest);
            }
            Entry::Vacant(new) if self.keys.reserve_key() => drop(new.insert(offset)),
            Entry::Vacant(_) => {}
        }
    }

    /// Notes that a cursor that started at `from` has scanned everything up to `to`.
    pub(crate) fn mark_scanned(&mut self, from: Offset, to: Offset) {
        self.range = match self.range {
            Some((first, last)) if from <= last && first <= to => Some((first.min(from), last.max(to))),
            // Of two separate ranges the later one is kept: other cursors are more likely to need
            // it.
            Some(known) if known.0 > to => Some(known),
            Some(_) | None => Some((from, to)),
        };
    }

    /// Returns the offset at which a cursor that has scanned up to `at` has to continue.
    pub(crate) fn next_unscanned(&self, at: Offset) -> Offset {
        self.range.filter(|(from, to)| *from <= at && at < *to).map_or(at, |(_, to)| to)
    }

    /// Whether the map has no newer record of the key.
    pub(crate) fn is_latest(&self, key: KeyHash, offset: Offset) -> bool {
        self.latest.get(&key).is_none_or(|latest| *latest <= offset)
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Required by the trait, but not called: a `KeyHash` writes a `u64`.
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
