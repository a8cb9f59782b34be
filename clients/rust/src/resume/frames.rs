//! What a node's frames mean for the subscriptions: they move positions and become events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tailcast_proto::{
    Channel, Keys, Offset, PartitionId, Position,
    push::v1::{self, DeliveryMode, ErrorCode, Frame, SkipReason, UnsubscribeReason, delivery, frame},
};

use super::{
    Fault, Resume,
    entry::{Entry, State},
};
use crate::{
    Delivery, Event, Header, Heartbeat, Progress, Refused, Skipped, SnapshotEnd, Subscribed, Unsubscribed,
    backoff::HINT_MAX,
};

/// How long to wait before a subscription that Kafka's absence refused is asked for again, where the node does not say.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Resume {
    /// Takes a frame: moves positions, and returns what the application should know. `Connected`, `Goaway` and `Refreshed`
    /// concern the connection and are nothing here, as are kinds of frames that this version does not know.
    ///
    /// # Errors
    ///
    /// When the frame contradicts the protocol. Nothing has moved; the connection should be left and resumed.
    pub fn observe(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, Fault> {
        let id = frame.id;
        match frame.frame {
            Some(frame::Frame::Delivery(delivery)) => self.delivery(delivery),
            Some(frame::Frame::Subscribed(subscribed)) => self.subscribed(id, subscribed).map(Some),
            Some(frame::Frame::Skipped(skipped)) => self.skipped(&skipped),
            Some(frame::Frame::SnapshotEnd(end)) => self.snapshot_end(end),
            Some(frame::Frame::Unsubscribed(unsubscribed)) => self.unsubscribed(id, unsubscribed),
            Some(frame::Frame::Heartbeat(heartbeat)) => Ok(Some(self.heartbeat(&heartbeat))),
            Some(frame::Frame::Error(error)) => self.refused(id, error, now).map(Some),
            Some(frame::Frame::Connected(_) | frame::Frame::Goaway(_) | frame::Frame::Refreshed(_))
            | None => Ok(None),
        }
    }

    fn delivery(&mut self, delivery: v1::Delivery) -> Result<Option<Event>, Fault> {
        let entry = self.entry(delivery.alias)?;
        let (partition, offset) = entry.place(delivery.partition, delivery.offset)?;
        entry
            .tracker
            .delivered(partition, offset)
            .map_err(|source| Fault::Order { channel: Arc::clone(&entry.channel), source })?;
        // What was on its way when the application unsubscribed.
        if entry.state == State::Leaving {
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
            skipped: delivery.skipped,
            compression,
        })))
    }

    fn subscribed(&mut self, id: u32, subscribed: v1::Subscribed) -> Result<Event, Fault> {
        let index = subscribed.index;
        let number = self.answered(id, index).ok_or(Fault::UnexpectedReply { id, index })?;
        let Some(entry) = self.entries.get_mut(&number) else {
            return Err(Fault::UnexpectedReply { id, index });
        };
        let outcome = subscribed.outcome();
        let mode = match subscribed.mode() {
            DeliveryMode::Conflated => DeliveryMode::Conflated,
            DeliveryMode::Lossless | DeliveryMode::Unspecified => DeliveryMode::Lossless,
        };
        let position = entry.position(subscribed.position)?;
        if entry.state == State::Asked {
            entry.state = State::Live;
        }
        entry.alias = Some(subscribed.alias);
        entry.home = home(subscribed.home_partition, &position);
        entry.tracker.subscribed(position.clone(), outcome);
        let channel = Arc::clone(&entry.channel);
        self.by_alias.insert(subscribed.alias, number);
        let max_rate = (subscribed.max_rate > 0.0).then_some(subscribed.max_rate);
        Ok(Event::Subscribed(Subscribed {
            channel,
            position,
            outcome,
            lost: subscribed.lost,
            mode,
            max_rate,
        }))
    }

    fn skipped(&mut self, skipped: &v1::Skipped) -> Result<Option<Event>, Fault> {
        let entry = self.entry(skipped.alias)?;
        let (partition, first) = entry.place(Some(skipped.partition), skipped.first_offset)?;
        let (_, next) = entry.place(Some(skipped.partition), skipped.next_offset)?;
        let reason = skipped.reason();
        entry.tracker.skipped(partition, first, next, reason);
        let channel = Arc::clone(&entry.channel);
        let known = skipped.records > 0 || reason == SkipReason::Conflated;
        let records = known.then_some(skipped.records);
        Ok(Some(Event::Skipped(Skipped { channel, partition, first, next, reason, records })))
    }

    fn snapshot_end(&mut self, end: v1::SnapshotEnd) -> Result<Option<Event>, Fault> {
        let entry = self.entry(end.alias)?;
        let position = entry.position(end.position)?;
        entry.tracker.snapshot_ended(position.clone());
        let channel = Arc::clone(&entry.channel);
        Ok(Some(Event::SnapshotEnd(SnapshotEnd { channel, position, values: end.values })))
    }

    fn unsubscribed(&mut self, id: u32, unsubscribed: v1::Unsubscribed) -> Result<Option<Event>, Fault> {
        let reason = unsubscribed.reason();
        // The command first: a subscription may end before it has an alias.
        let number = self.answered(id, 0).or_else(|| self.by_alias.get(&unsubscribed.alias).copied());
        let Some(number) = number else { return Err(Fault::UnknownAlias(unsubscribed.alias)) };
        if reason == UnsubscribeReason::PartitionsAdded && self.begin_again(number) {
            return Ok(None);
        }
        if reason == UnsubscribeReason::Closing {
            return self.closing(number, unsubscribed).map(|()| None);
        }
        let Some(entry) = self.remove(number) else {
            return Err(Fault::UnknownAlias(unsubscribed.alias));
        };
        let said = unsubscribed.position.map(|position| entry.position(Some(position))).transpose()?;
        let position = said.or_else(|| entry.tracker.position().cloned());
        Ok(Some(Event::Unsubscribed(Unsubscribed { channel: entry.channel, reason, position })))
    }

    /// Asks for a subscription again that the application did not end, from its position; returns whether it did.
    fn begin_again(&mut self, number: u64) -> bool {
        let live = self.entries.get_mut(&number).filter(|entry| entry.state == State::Live);
        let Some(entry) = live else { return false };
        entry.state = State::Idle;
        if let Some(alias) = entry.alias.take() {
            self.by_alias.remove(&alias);
        }
        self.unsaid.push(number);
        true
    }

    /// Takes that the node is about to close the session. The subscription has not ended for the application: the next
    /// connection resumes it.
    fn closing(&mut self, number: u64, unsubscribed: v1::Unsubscribed) -> Result<(), Fault> {
        let Some(entry) = self.entries.get_mut(&number) else { return Ok(()) };
        let position = entry.position(unsubscribed.position)?;
        entry.tracker.closing(&position);
        if entry.state != State::Leaving {
            entry.state = State::Idle;
        }
        if let Some(alias) = entry.alias.take() {
            self.by_alias.remove(&alias);
        }
        Ok(())
    }

    fn heartbeat(&mut self, heartbeat: &v1::Heartbeat) -> Event {
        let mut moved = Vec::new();
        for progress in &heartbeat.progress {
            let place = PartitionId::try_from(progress.partition).ok().zip(Offset::new(progress.next_offset));
            let Some((partition, next)) = place else { continue };
            for entry in self.entries.values_mut() {
                let behind = entry.alias.is_none_or(|alias| progress.except_aliases.contains(&alias));
                let other = entry.channel.topic.as_str() != progress.topic;
                if !behind && !other && entry.tracker.progressed(partition, next) {
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

    fn refused(&mut self, id: u32, error: v1::Error, now: Instant) -> Result<Event, Fault> {
        let code = error.code();
        let mut refused =
            Refused { channel: None, code, detail: error.detail, field: error.field, retry_after: None };
        let Some(number) = self.answered(id, error.index) else { return Ok(Event::Error(refused)) };
        let Some(entry) = self.entries.get_mut(&number) else { return Ok(Event::Error(refused)) };
        if entry.state == State::Leaving {
            // There was nothing to end: it has ended.
            let position = entry.tracker.position().cloned();
            let channel = Arc::clone(&entry.channel);
            self.remove(number);
            let reason = UnsubscribeReason::Requested;
            return Ok(Event::Unsubscribed(Unsubscribed { channel, reason, position }));
        }
        refused.channel = Some(Arc::clone(&entry.channel));
        let moved = code == ErrorCode::UnknownPartition && entry.tracker.key_moved();
        refused.retry_after = match error.retry_after_ms {
            0 if moved => Some(Duration::ZERO),
            0 => (code == ErrorCode::Unavailable).then_some(AGAIN_AFTER),
            ms => Some(Duration::from_millis(ms.into()).min(HINT_MAX)),
        };
        match refused.retry_after {
            Some(after) => {
                entry.state = State::Again;
                self.again.insert((now + after, number));
            }
            None => {
                self.remove(number);
            }
        }
        Ok(Event::Error(refused))
    }

    /// Returns the entry that a command's index was about, once.
    fn answered(&mut self, id: u32, index: u32) -> Option<u64> {
        let asked = self.asked.get_mut(&id)?;
        let number = asked.get_mut(usize::try_from(index).ok()?)?.take();
        if asked.iter().all(Option::is_none) {
            self.asked.remove(&id);
        }
        number
    }

    fn entry(&mut self, alias: u32) -> Result<&mut Entry, Fault> {
        let number = self.by_alias.get(&alias).ok_or(Fault::UnknownAlias(alias))?;
        self.entries.get_mut(number).ok_or(Fault::UnknownAlias(alias))
    }
}

/// Returns the partition of deliveries that name none: what the node says, or the only one of the position.
fn home(said: Option<u32>, position: &Position) -> Option<PartitionId> {
    let mut partitions = position.offsets.keys().copied();
    let only = partitions.next().filter(|_| partitions.next().is_none());
    said.and_then(|said| PartitionId::try_from(said).ok()).or(only)
}

/// Returns the key of a channel that is one key: its deliveries do not repeat it.
fn own_key(channel: &Channel) -> Option<bytes::Bytes> {
    match &channel.keys {
        Keys::Exact(key) => Some(key.as_bytes().clone()),
        Keys::Prefix(_) | Keys::All => None,
    }
}
