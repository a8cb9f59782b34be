//! Which channels of a partition a record belongs to.
//!
//! A record costs one lookup for the exact channel and one for each *length* of prefix in use,
//! however many channels there are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use slab::Slab;
use tailcast_proto::{Key, Keys};

use crate::{
    log::channel_log::ChannelLog,
    record::{
        channel::{Encoding, NodeChannel},
        chunk::ChunkBuilder,
    },
};

/// The channels of one partition that have subscribers on this node.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    entries: Slab<ChannelEntry>,
    exact: HashMap<Bytes, EntryId>,
    prefix: HashMap<Bytes, EntryId>,
    /// Number of prefixes of each length.
    prefix_lengths: BTreeMap<usize, usize>,
    all: Option<EntryId>,
}

/// The number of a channel within its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryId(usize);

/// The logs of one channel, one for each encoding in use.
#[derive(Debug)]
struct ChannelEntry {
    channel: Arc<NodeChannel>,
    logs: [Option<GrowingLog>; Encoding::COUNT],
}

/// A log and the chunk being built for it.
#[derive(Debug)]
pub(crate) struct GrowingLog {
    pub(crate) log: Arc<ChannelLog>,
    pub(crate) building: ChunkBuilder,
}

impl Interest {
    /// Calls `found` for each channel that a record with this key belongs to.
    pub(crate) fn matching(&self, key: Option<&[u8]>, mut found: impl FnMut(EntryId)) {
        if let Some(key) = key {
            if let Some(exact) = self.exact.get(key) {
                found(*exact);
            }
            for length in self.prefix_lengths.keys().take_while(|length| **length <= key.len()) {
                if let Some(prefix) = self.prefix.get(&key[..*length]) {
                    found(*prefix);
                }
            }
        }
        if let Some(all) = self.all {
            found(all);
        }
    }

    /// Returns the channel and its logs.
    pub(crate) fn logs_mut(&mut self, id: EntryId) -> (&NodeChannel, impl Iterator<Item = &mut GrowingLog>) {
        let entry = &mut self.entries[id.0];
        (&entry.channel, entry.logs.iter_mut().flatten())
    }

    /// Returns the log of a channel in an encoding, if there is one.
    pub(crate) fn log(&self, channel: &NodeChannel, encoding: Encoding) -> Option<Arc<ChannelLog>> {
        let entry = &self.entries[self.find(&channel.channel.keys)?.0];
        entry.logs[encoding.number()].as_ref().map(|log| Arc::clone(&log.log))
    }

    pub(crate) fn insert(&mut self, log: Arc<ChannelLog>) {
        let id = self.find(&log.channel.channel.keys).unwrap_or_else(|| self.insert_entry(&log.channel));
        let number = log.encoding.number();
        self.entries[id.0].logs[number] = Some(GrowingLog { log, building: ChunkBuilder::default() });
    }

    /// Removes a log. Removes its channel with the last log.
    pub(crate) fn remove(&mut self, log: &ChannelLog) {
        let keys = &log.channel.channel.keys;
        let Some(id) = self.find(keys) else { return };
        let entry = &mut self.entries[id.0];
        entry.logs[log.encoding.number()] = None;
        if entry.logs.iter().any(Option::is_some) {
            return;
        }
        self.entries.remove(id.0);
        match keys {
            Keys::Exact(key) => drop(self.exact.remove(key.as_bytes())),
            Keys::Prefix(prefix) => self.remove_prefix(prefix),
            Keys::All => self.all = None,
        }
    }

    /// Returns every log.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &Arc<ChannelLog>> {
        self.entries.iter().flat_map(|(_, entry)| entry.logs.iter().flatten()).map(|log| &log.log)
    }

    fn find(&self, keys: &Keys) -> Option<EntryId> {
        match keys {
            Keys::Exact(key) => self.exact.get(key.as_bytes()).copied(),
            Keys::Prefix(prefix) => self.prefix.get(prefix.as_bytes()).copied(),
            Keys::All => self.all,
        }
    }

    fn insert_entry(&mut self, channel: &Arc<NodeChannel>) -> EntryId {
        let logs = [const { None }; Encoding::COUNT];
        let id = EntryId(self.entries.insert(ChannelEntry { channel: Arc::clone(channel), logs }));
        match &channel.channel.keys {
            Keys::Exact(key) => drop(self.exact.insert(key.as_bytes().clone(), id)),
            Keys::Prefix(prefix) => {
                *self.prefix_lengths.entry(prefix.as_bytes().len()).or_default() += 1;
                self.prefix.insert(prefix.as_bytes().clone(), id);
            }
            Keys::All => self.all = Some(id),
        }
        id
    }

    fn remove_prefix(&mut self, prefix: &Key) {
        self.prefix.remove(prefix.as_bytes());
        let length = prefix.as_bytes().len();
        if let Some(count) = self.prefix_lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.prefix_lengths.remove(&length);
            }
        }
    }
}
