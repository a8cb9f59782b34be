//! The last values of one partition, shared by the feed, the loader, and the sessions that read
//! them.
//!
//! They have a lock of their own, so that a session that reads a million values does not block
//! sessions that attach to the window. Values are found under the lock and encoded outside it.
//!
//! Invariant: the memory reserved from the budget is the memory of the table, and is returned when
//! the table is dropped.

use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tailcast_proto::{Offset, PartitionId};
use tokio::sync::watch;

use super::{
    table::{LastValueTable, TableRead},
    topic::{TopicLastValues, TopicMember},
};
use crate::{
    log::page::Page,
    record::{
        batch::RecordBatch,
        channel::{Encoding, NodeChannel},
    },
};

/// The last values of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLastValues {
    topic: Arc<TopicLastValues>,
    /// `None` once the values were dropped because the topic is too large.
    table: RwLock<Option<LastValueTable>>,
    state: watch::Sender<LoadState>,
}

/// Why the last values of a partition are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LastValuesError {
    /// The last values of the topic exceeded the limit. They are not kept until the node restarts.
    #[error("the last values of the topic exceed push.last_values.bytes_max")]
    TooLarge,
    /// The topic was deleted or recreated.
    #[error("the partition is closed")]
    Closed,
}

/// The result of reading last values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastValuesRead {
    pub(crate) deliveries: u64,
    /// The offset up to which the values were read.
    pub(crate) next: Offset,
    /// Whether there are more values than fitted in the budget or in the steps of one read.
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
    /// Creates the last values of a partition that the feed reads from `feed_from` on.
    pub(super) fn of(topic: &Arc<TopicLastValues>, feed_from: Offset) -> Arc<Self> {
        let table = LastValueTable::new(feed_from);
        let state = if table.is_loaded() { LoadState::Loaded } else { LoadState::Loading };
        let (topic, table) = (Arc::clone(topic), RwLock::new(Some(table)));
        let kept = Arc::new(Self { topic, table, state: watch::Sender::new(state) });
        let values: Weak<Self> = Arc::downgrade(&kept);
        kept.topic.add(values);
        // Checked after the topic has this partition: the topic may have dropped its values in
        // between.
        if kept.topic.is_too_large() {
            kept.drop_values();
        }
        kept
    }

    /// Waits until the values are loaded. Cancel safe.
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
            // `self` owns the sender, so it is not dropped here.
            Ok(LoadState::Closed | LoadState::Loading) | Err(_) => Err(LastValuesError::Closed),
        }
    }

    /// Waits until the values become unavailable. Cancel safe.
    pub(crate) async fn unavailable(&self) {
        let mut state = self.state.subscribe();
        drop(state.wait_for(|state| matches!(state, LoadState::TooLarge | LoadState::Closed)).await);
    }

    /// Reads the values of a channel at or after `next` and before `until`, in offset order, and
    /// appends their encodings to `out`: up to `budget` bytes, but at least one delivery if there
    /// is one among the `steps_max` values examined. `None` if the values are not loaded, or were
    /// dropped.
    ///
    /// `until` is the partition's head when the reader began, and the same for all its reads. A
    /// value that is updated meanwhile moves past `until` and is delivered from the log, as is a
    /// deletion. So a reader ends, however busy the topic is, and continues in the log at `until`
    /// without gap or repetition.
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
            // The encoding is longer than the value.
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

    /// Takes records that the feed appends to the window.
    pub(crate) fn append(&self, batch: &RecordBatch) {
        self.change(|table| table.append(batch));
    }

    /// Drops all values and continues at `head`: Kafka has no earlier records.
    pub(crate) fn restart(&self, head: Offset) {
        self.change(|table| table.restart(head));
    }

    /// Makes the values unavailable because the topic is gone.
    pub(crate) fn close(&self) {
        self.state.send_replace(LoadState::Closed);
    }

    /// Takes a page of records from before the feed began.
    pub(crate) fn load(&self, page: &Page) {
        self.change(|table| table.load(page.records(), page.to));
    }

    /// Removes values before `low`: Kafka no longer has their records.
    pub(crate) fn expire_before(&self, low: Offset) {
        self.change(|table| table.expire_before(low));
    }

    /// Returns the offset up to which values have to be loaded; `None` if they are loaded or
    /// unavailable.
    pub(crate) fn load_until(&self) -> Option<Offset> {
        let is_loading = *self.state.borrow() == LoadState::Loading;
        self.table.read().as_ref().filter(|_| is_loading).map(LastValueTable::feed_from)
    }

    fn change(&self, change: impl FnOnce(&mut LastValueTable)) {
        let (is_loaded, fits) = {
            let mut table = self.table.write();
            let Some(table) = table.as_mut() else { return };
            let before = table.memory();
            change(table);
            (table.is_loaded(), self.topic.resize(before, table.memory()))
        };
        // Without the lock, because this locks all partitions of the topic.
        if !fits {
            self.topic.drop_values();
        } else if is_loaded {
            self.advance(LoadState::Loaded);
        }
    }

    /// Changes the state, except that closed and dropped values stay so.
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
        self.table.read().as_ref().map_or(0, LastValueTable::len)
    }

    fn drop_values(&self) {
        let dropped = self.table.write().take();
        self.topic.resize(dropped.as_ref().map_or(0, LastValueTable::memory), 0);
        self.advance(LoadState::TooLarge);
    }
}

impl Drop for PartitionLastValues {
    fn drop(&mut self) {
        self.topic.resize(self.table.get_mut().as_ref().map_or(0, LastValueTable::memory), 0);
    }
}
