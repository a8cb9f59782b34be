//! The last values of one partition, shared by the feed, the loader, and the sessions that read them.
//!
//! Behind a lock of their own, so that a session that reads a million of them is not in the way of those who attach to the
//! window. Under the lock values are only found; they are encoded after it.
//!
//! Invariant: what is taken of the node's budget is what the table holds, and is given back when the table goes.

use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tailcast_proto::{Offset, PartitionId};
use tokio::sync::watch;

use super::{
    table::{Table, TableRead},
    topic::{TopicLastValues, TopicMember},
};
use crate::{
    log::page::Page,
    record::{
        batch::RecordBatch,
        chunk::{Encoding, NodeChannel},
    },
};

/// The last values of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLastValues {
    topic: Arc<TopicLastValues>,
    /// `None` once they were dropped for being too large.
    table: RwLock<Option<Table>>,
    state: watch::Sender<LoadState>,
}

/// Why the last values of a partition cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LastValuesError {
    /// The topic's were more than this node may keep. It keeps none of it until it starts again.
    #[error("the last values of the topic are more than push.last_values.bytes_max allows")]
    TooLarge,
    /// The topic is gone, or another one now.
    #[error("the partition is closed")]
    Closed,
}

/// What a reader took of the last values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastValuesRead {
    pub(crate) deliveries: u64,
    /// Up to where the reader has seen them.
    pub(crate) next: Offset,
    /// Whether the budget, or the steps of one read, ended before they did.
    pub(crate) more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadState {
    Loading,
    Loaded,
    TooLarge,
    Closed,
}

impl PartitionLastValues {
    /// Keeps the last values of a partition of a topic, which the feed reads from `feed_from` on.
    pub(super) fn of(topic: &Arc<TopicLastValues>, feed_from: Offset) -> Arc<Self> {
        let table = Table::new(feed_from);
        let state = if table.is_loaded() { LoadState::Loaded } else { LoadState::Loading };
        let (topic, table) = (Arc::clone(topic), RwLock::new(Some(table)));
        let kept = Arc::new(Self { topic, table, state: watch::Sender::new(state) });
        let values: Weak<Self> = Arc::downgrade(&kept);
        kept.topic.add(values);
        // After the topic has it: whoever gives the topic up in between gives this one up too.
        if kept.topic.is_too_large() {
            kept.drop_values();
        }
        kept
    }

    /// Waits until they are loaded. Cancel safe.
    ///
    /// # Errors
    ///
    /// See [`LastValuesError`].
    pub(crate) async fn loaded(&self) -> Result<(), LastValuesError> {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| *state != LoadState::Loading).await;
        match reached.map(|state| *state) {
            Ok(LoadState::Loaded) => Ok(()),
            Ok(LoadState::TooLarge) => Err(LastValuesError::TooLarge),
            // The sender is ours: it is not dropped while this borrows it.
            Ok(LoadState::Closed | LoadState::Loading) | Err(_) => Err(LastValuesError::Closed),
        }
    }

    /// Waits until they cannot be had any more. Cancel safe.
    pub(crate) async fn unavailable(&self) {
        let mut state = self.state.subscribe();
        drop(state.wait_for(|state| matches!(state, LoadState::TooLarge | LoadState::Closed)).await);
    }

    /// Hands out what a channel has at or after `next` and before `until`, in the order of offsets: up to `budget` bytes, but
    /// at least one delivery if there is one among the `steps_max` values that are looked at; appended to `out`. `None` while
    /// they are not loaded, and once they were dropped.
    ///
    /// `until` is the partition's head at the time when the reader began, and stays the same for all its reads: a value that
    /// is updated meanwhile moves past it, and comes from the log, as its deletion does. So a reader ends, however busy the
    /// topic is, and reads on in the log at `until` without gap or repetition.
    pub(crate) fn read(
        &self,
        (next, until): (Offset, Offset),
        budget: usize,
        steps_max: usize,
        (channel, encoding, partition): (&NodeChannel, Encoding, PartitionId),
        out: &mut Vec<Bytes>,
    ) -> Option<LastValuesRead> {
        let TableRead { values, next, more } = {
            let table = self.table.read();
            let table = table.as_ref().filter(|table| table.is_loaded())?;
            table.unread(&channel.channel, (next, until), budget, steps_max)
        };
        let mut read = LastValuesRead { deliveries: 0, next, more };
        let mut encoded = BytesMut::new();
        for (at, value) in &values {
            // Encoded they are longer than they are.
            if encoded.len() >= budget && read.deliveries > 0 {
                (read.next, read.more) = (*at, true);
                break;
            }
            channel.encode(&value.record(*at), partition, encoding, &mut encoded);
            read.deliveries += 1;
        }
        if !encoded.is_empty() {
            out.push(encoded.freeze());
        }
        Some(read)
    }

    /// Takes what the feed appends to the window.
    pub(crate) fn append(&self, batch: &RecordBatch) {
        self.change(|table| table.append(batch));
    }

    /// Forgets all and goes on at `head`: Kafka has nothing before it any more.
    pub(crate) fn restart(&self, head: Offset) {
        self.change(|table| table.restart(head));
    }

    /// Says that the topic is gone.
    pub(crate) fn close(&self) {
        self.state.send_replace(LoadState::Closed);
    }

    /// Takes a page of what was there before the feed began.
    pub(crate) fn load(&self, page: &Page) {
        self.change(|table| table.load(page.records(), page.to));
    }

    /// Notes that Kafka has nothing before `low` any more.
    pub(crate) fn expire_before(&self, low: Offset) {
        self.change(|table| table.expire_before(low));
    }

    /// Up to where they have to be loaded; `None` when they are, or cannot be any more.
    pub(crate) fn load_until(&self) -> Option<Offset> {
        let is_loading = *self.state.borrow() == LoadState::Loading;
        self.table.read().as_ref().filter(|_| is_loading).map(Table::feed_from)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        let (is_loaded, fits) = {
            let mut table = self.table.write();
            let Some(table) = table.as_mut() else { return };
            let before = table.memory();
            change(table);
            (table.is_loaded(), self.topic.resize(before, table.memory()))
        };
        // Without the lock: all partitions of the topic are dropped.
        if !fits {
            self.topic.drop_values();
        } else if is_loaded {
            self.advance(LoadState::Loaded);
        }
    }

    /// Closed stays closed, and what was dropped stays dropped.
    fn advance(&self, to: LoadState) {
        self.state.send_if_modified(|state| {
            let moves = match state {
                LoadState::Loading => true,
                LoadState::Loaded => to == LoadState::TooLarge,
                LoadState::TooLarge | LoadState::Closed => false,
            };
            if moves {
                *state = to;
            }
            moves
        });
    }
}

impl TopicMember for PartitionLastValues {
    fn count(&self) -> usize {
        self.table.read().as_ref().map_or(0, Table::len)
    }

    fn drop_values(&self) {
        let dropped = self.table.write().take();
        self.topic.resize(dropped.as_ref().map_or(0, Table::memory), 0);
        self.advance(LoadState::TooLarge);
    }
}

impl Drop for PartitionLastValues {
    fn drop(&mut self) {
        self.topic.resize(self.table.get_mut().as_ref().map_or(0, Table::memory), 0);
    }
}
