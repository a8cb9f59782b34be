//! The effect of a node's frames on the subscriptions: they advance positions and become events.
//!
//! Invariant: a delivery becomes an event only if the subscription's tracker accepts it. If only
//! the connection's tracker accepts it, another connection has delivered it before, and it is
//! dropped. If the connection's tracker refuses it, it is a fault.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tailcast_proto::{
    Channel, Keys, Offset, PartitionId,
    push::v1::{self, Frame, SkipReason, delivery, frame},
};

use super::{
    Fault,
    entry::Entries,
    link::{Link, position},
};
use crate::{Delivery, Event, Header, Heartbeat, Progress, Skipped, SnapshotEnd};

impl Link {
    /// Applies a frame of this connection; see [`Resume::observe`](super::Resume::observe).
    pub(super) fn observe(
        &mut self,
        entries: &mut Entries,
        frame: Frame,
        now: Instant,
    ) -> Result<Option<Event>, Fault> {
        let id = frame.id;
        match frame.frame {
            Some(frame::Frame::Delivery(delivery)) => self.delivery(entries, delivery),
            Some(frame::Frame::Subscribed(subscribed)) => self.subscribed(entries, id, subscribed).map(Some),
            Some(frame::Frame::Skipped(skipped)) => self.skipped(entries, &skipped),
            Some(frame::Frame::SnapshotEnd(end)) => self.snapshot_end(entries, end).map(Some),
            Some(frame::Frame::Unsubscribed(unsubscribed)) => self.unsubscribed(entries, id, unsubscribed),
            Some(frame::Frame::Heartbeat(heartbeat)) => Ok(Some(self.heartbeat(entries, &heartbeat))),
            Some(frame::Frame::Error(error)) => Ok(Some(self.refused(entries, id, error, now))),
            Some(frame::Frame::Connected(_) | frame::Frame::Goaway(_) | frame::Frame::Refreshed(_))
            | None => Ok(None),
        }
    }

    fn delivery(&mut self, entries: &mut Entries, delivery: v1::Delivery) -> Result<Option<Event>, Fault> {
        let (entry, served) = self.of_alias(entries, delivery.alias)?;
        let (partition, offset) = served.place(&entry.channel, delivery.partition, delivery.offset)?;
        served
            .tracker
            .delivered(partition, offset)
            .map_err(|source| Fault::Order { channel: Arc::clone(&entry.channel), source })?;
        let repeated = entry.tracker.delivered(partition, offset).is_err();
        // Either another connection has delivered it, or it was in flight when the application
        // unsubscribed.
        if repeated || entry.unsubscribing {
            return Ok(None);
        }
        let compression = delivery.compression();
        let key = match delivery.key_form {
            Some(delivery::KeyForm::Key(key)) => Some(key),
            Some(delivery::KeyForm::KeyText(key)) => Some(key.into()),
            None => own_key(&entry.channel),
        };
        let value = delivery.value_form.map(|form| match form {
            delivery::ValueForm::Value(value) => value,
            delivery::ValueForm::Text(text) => text.into(),
        });
        let headers = delivery.headers.into_iter();
        Ok(Some(Event::Delivery(Delivery {
            channel: Arc::clone(&entry.channel),
            partition,
            offset,
            timestamp_ms: (delivery.timestamp_ms >= 0).then_some(delivery.timestamp_ms),
            key,
            value,
            headers: headers.map(|v1::Header { name, value }| Header { name, value }).collect(),
            traceparent: delivery.traceparent,
            compression,
        })))
    }

    fn skipped(&mut self, entries: &mut Entries, skipped: &v1::Skipped) -> Result<Option<Event>, Fault> {
        let (entry, served) = self.of_alias(entries, skipped.alias)?;
        let (partition, mut first) =
            served.place(&entry.channel, Some(skipped.partition), skipped.first_offset)?;
        let (_, next) = served.place(&entry.channel, Some(skipped.partition), skipped.next_offset)?;
        let reason = skipped.reason();
        let known = skipped.records > 0 || reason == SkipReason::Conflated;
        let mut records = known.then_some(skipped.records);
        let seen = entry.tracker.next(partition).filter(|seen| served.tracker.next(partition) < Some(*seen));
        served.tracker.skipped(partition, first, next, reason);
        if let Some(seen) = seen.filter(|_| reason != SkipReason::Truncated) {
            // Records that another connection has delivered are not skipped.
            if seen >= next {
                return Ok(None);
            }
            records = records.filter(|_| seen <= first);
            first = first.max(seen);
        }
        entry.tracker.skipped(partition, first, next, reason);
        let channel = Arc::clone(&entry.channel);
        Ok(Some(Event::Skipped(Skipped { channel, partition, first, next, reason, records })))
    }

    fn snapshot_end(&mut self, entries: &mut Entries, end: v1::SnapshotEnd) -> Result<Event, Fault> {
        let (entry, served) = self.of_alias(entries, end.alias)?;
        let position = position(entry, end.position)?;
        served.tracker.snapshot_ended(position.clone());
        entry.tracker.snapshot_ended(position.clone());
        let channel = Arc::clone(&entry.channel);
        Ok(Event::SnapshotEnd(SnapshotEnd { channel, position, values: end.values }))
    }

    fn heartbeat(&mut self, entries: &mut Entries, heartbeat: &v1::Heartbeat) -> Event {
        let mut moved = Vec::new();
        for progress in &heartbeat.progress {
            let place = PartitionId::try_from(progress.partition).ok().zip(Offset::new(progress.next_offset));
            let Some((partition, next)) = place else { continue };
            for (number, served) in &mut self.served {
                let Some(entry) = entries.get_mut(*number) else { continue };
                let behind = served.alias.is_none_or(|alias| progress.except_aliases.contains(&alias));
                let other = entry.channel.topic.as_str() != progress.topic;
                if behind || other || !served.tracker.progressed(partition, next) {
                    continue;
                }
                if entry.tracker.progressed(partition, next) {
                    moved.push(Progress { channel: Arc::clone(&entry.channel), partition, next });
                }
            }
        }
        Event::Heartbeat(Heartbeat {
            server_time_ms: heartbeat.server_time_ms,
            lag_records: heartbeat.lag_records,
            lag: Duration::from_millis(heartbeat.lag_ms),
            progress: moved,
        })
    }
}

/// Returns the key of a channel of one key, whose deliveries do not contain it.
fn own_key(channel: &Channel) -> Option<bytes::Bytes> {
    match &channel.keys {
        Keys::Exact(key) => Some(key.as_bytes().clone()),
        Keys::Prefix(_) | Keys::All => None,
    }
}
