//! The next message: deliveries, and between them the notices about records that were skipped.

use bytes::{Bytes, BytesMut};
use tailcast_proto::{
    Offset, PartitionId,
    delivery::{Format, encode_message},
    push::v1,
};

use super::Subscriptions;
use crate::{
    cursor::{ConflatedRange, FollowUp, GatherRequest, LostRange, RecordTime},
    wake::doorbell::CursorId,
};

/// The content of one WebSocket message.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) deliveries: u64,
    /// Number of records that were skipped for newer ones.
    pub(crate) conflated: u64,
    /// The timestamp of the newest live record, in milliseconds since the Unix epoch.
    pub(crate) live_ms: Option<i64>,
    /// The same for records from before the subscription started.
    pub(crate) resumed_ms: Option<i64>,
}

impl Batch {
    /// Removes the last line end: the lines of a JSON message are separated, not terminated.
    pub(in crate::session::rules) fn trim_last_line_end(&mut self) {
        if let Some(last) = self.parts.last_mut()
            && last.ends_with(b"\n")
        {
            last.truncate(last.len() - 1);
            self.bytes -= 1;
        }
    }
}

/// Maximum number of turns in which cursors read much and found nothing to deliver, before the
/// session yields to others.
const FRUITLESS_MAX: usize = 8;

impl Subscriptions {
    /// Gathers the deliveries of the ready cursors, in turn, up to the budget but at least one
    /// delivery.
    pub(crate) fn gather(&mut self, turn: GatherRequest) -> Batch {
        let (mut batch, mut fruitless) = (Batch::default(), 0);
        while batch.bytes < turn.budget
            && fruitless < FRUITLESS_MAX
            && let Some(id) = self.ready.pop_front()
        {
            let before = batch.bytes;
            self.gather_one(id, GatherRequest { budget: turn.budget - batch.bytes, ..turn }, &mut batch);
            fruitless += usize::from(batch.bytes == before && self.ready.back() == Some(&id));
        }
        if fruitless == FRUITLESS_MAX
            && let Some(id) = self.ready.front()
        {
            // Others go first; this session continues at once.
            self.cursors[id.0].cursor.ringer().alert();
        }
        batch
    }

    fn gather_one(&mut self, id: CursorId, turn: GatherRequest, batch: &mut Batch) {
        let held = &mut self.cursors[id.0];
        held.is_ready = false;
        let (first, was_in_snapshot) = (batch.parts.len(), held.cursor.is_in_snapshot());
        let gathered = held.cursor.gather(turn, &mut batch.parts);
        let has_ended_snapshot = held.cursor.take_snapshot_end();
        let (alias, partition) = (held.alias, held.cursor.partition().id);
        if held.is_paging && (!held.cursor.is_paging() || matches!(gathered.follow_up, FollowUp::Page(_))) {
            held.is_paging = false;
            self.pages_open -= 1;
        }
        match gathered.follow_up {
            // A cursor that waits for a page is idle too.
            FollowUp::Idle => held.was_live |= !held.cursor.is_catching_up(),
            FollowUp::More => self.make_ready(id),
            FollowUp::At(due) => {
                self.cursors[id.0].delayed_until = Some(due);
                self.delayed.insert((due, id));
            }
            FollowUp::Page(_) => self.awaiting_page.push_back(id),
        }
        // Behind the deliveries that they concern, in the same message.
        if let Some(conflated) = gathered.conflated {
            batch.conflated += conflated.records;
            let skipped = v1::frame::Frame::Skipped(skipped(alias, partition, conflated));
            batch.parts.push(self.encode(alias, skipped));
        }
        if was_in_snapshot
            && let Some(end) = self.follow_snapshot(alias, gathered.deliveries, has_ended_snapshot)
        {
            batch.parts.push(self.encode(alias, v1::frame::Frame::SnapshotEnd(end)));
        }
        batch.bytes += batch.parts[first..].iter().map(Bytes::len).sum::<usize>();
        batch.deliveries += gathered.deliveries;
        match gathered.newest {
            Some(RecordTime::Live(ms)) => batch.live_ms = batch.live_ms.max(Some(ms)),
            Some(RecordTime::Resumed(ms)) => batch.resumed_ms = batch.resumed_ms.max(Some(ms)),
            None => {}
        }
    }

    /// Counts the values of a snapshot. Returns its end once the last partition has passed it.
    fn follow_snapshot(&mut self, alias: u32, values: u64, has_ended_one: bool) -> Option<v1::SnapshotEnd> {
        let subscription = self.by_alias.get_mut(&alias)?;
        let snapshot = subscription.snapshot.as_mut()?;
        snapshot.values += values;
        snapshot.partitions_left -= usize::from(has_ended_one);
        if snapshot.partitions_left > 0 {
            return None;
        }
        let values = snapshot.values;
        subscription.snapshot = None;
        let position = Some((&self.position(&self.by_alias[&alias])).into());
        Some(v1::SnapshotEnd { alias, position, values })
    }

    /// Encodes a frame between the deliveries of a subscription.
    fn encode(&self, alias: u32, frame: v1::frame::Frame) -> Bytes {
        let mut encoded = BytesMut::new();
        let format = self.by_alias.get(&alias).map_or(Format::Proto, |subscription| subscription.format);
        let frames = vec![v1::Frame { id: 0, frame: Some(frame) }];
        encode_message(&v1::ServerMessage { frames }, format, &mut encoded);
        encoded.freeze()
    }
}

/// Records that a subscription does not deliver.
pub(super) struct NotDelivered {
    first: Offset,
    next: Offset,
    records: u64,
    reason: v1::SkipReason,
}

impl From<LostRange> for NotDelivered {
    fn from(LostRange { first, next }: LostRange) -> Self {
        Self { first, next, records: 0, reason: v1::SkipReason::Retention }
    }
}

impl From<ConflatedRange> for NotDelivered {
    fn from(ConflatedRange { first, next, records }: ConflatedRange) -> Self {
        Self { first, next, records, reason: v1::SkipReason::Conflated }
    }
}

/// The notice about records that are not delivered.
pub(super) fn skipped(alias: u32, partition: PartitionId, what: impl Into<NotDelivered>) -> v1::Skipped {
    let what = what.into();
    v1::Skipped {
        alias,
        partition: partition.get(),
        first_offset: what.first.get(),
        next_offset: what.next.get(),
        reason: what.reason.into(),
        records: what.records,
    }
}
