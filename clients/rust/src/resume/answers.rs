//! The effect of a node's replies on the subscriptions: they start, end, or are retried.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tailcast_proto::{
    PartitionId, Position,
    push::v1::{self, DeliveryMode, ErrorCode, Outcome, UnsubscribeReason},
};

use super::{
    Fault,
    entry::Entries,
    link::{Link, State, position},
};
use crate::{Event, Refused, Subscribed, Tracker, Unsubscribed, backoff::HINT_MAX};

/// Wait before a retry after Kafka was unavailable, if the node requests none.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Link {
    /// Applies the start of a subscription to this connection. Returns its number, its start, and
    /// the requested start.
    pub(super) fn begun(
        &mut self,
        entries: &Entries,
        id: u32,
        subscribed: &mut v1::Subscribed,
    ) -> Result<(u64, Position, Tracker), Fault> {
        let index = subscribed.index;
        let unexpected = Fault::UnexpectedReply { id, index };
        let number = self.answered(id, index).ok_or_else(|| unexpected.clone())?;
        let Some((entry, served)) = entries.get(number).zip(self.served.get_mut(&number)) else {
            return Err(unexpected);
        };
        let start = position(entry, subscribed.position.take())?;
        let requested = served.tracker.clone();
        served.state = State::Live;
        served.alias = Some(subscribed.alias);
        served.home = home(subscribed.home_partition, &start);
        served.tracker.subscribed(start.clone(), subscribed.outcome());
        self.by_alias.insert(subscribed.alias, number);
        Ok((number, start, requested))
    }

    /// Applies the start of a subscription.
    pub(super) fn subscribed(
        &mut self,
        entries: &mut Entries,
        id: u32,
        mut subscribed: v1::Subscribed,
    ) -> Result<Event, Fault> {
        let (number, mut start, requested) = self.begun(entries, id, &mut subscribed)?;
        let unexpected = Fault::UnexpectedReply { id, index: subscribed.index };
        let (Some(entry), Some(served)) = (entries.get_mut(number), self.served.get(&number)) else {
            return Err(unexpected);
        };
        let mut outcome = subscribed.outcome();
        if requested.position() == entry.tracker.position() {
            entry.tracker = served.tracker.clone();
        } else {
            // The previous connection delivered more records after this one was prepared. These are
            // not lost.
            for lost in &mut subscribed.lost {
                let partition = PartitionId::try_from(lost.partition).ok();
                let seen = partition.and_then(|partition| entry.tracker.next(partition));
                lost.first_offset = seen.map_or(lost.first_offset, |seen| lost.first_offset.max(seen.get()));
            }
            subscribed.lost.retain(|lost| lost.first_offset < lost.next_offset);
            if outcome == Outcome::Lost && subscribed.lost.is_empty() {
                outcome = Outcome::Resumed;
            }
            entry.tracker.merge(&served.tracker);
            start = entry.tracker.position().cloned().unwrap_or(start);
        }
        let mode = match subscribed.mode() {
            DeliveryMode::Conflated => DeliveryMode::Conflated,
            DeliveryMode::Lossless | DeliveryMode::Unspecified => DeliveryMode::Lossless,
        };
        let max_rate = (subscribed.max_rate > 0.0).then_some(subscribed.max_rate);
        let (channel, lost) = (Arc::clone(&entry.channel), subscribed.lost);
        Ok(Event::Subscribed(Subscribed { channel, position: start, outcome, lost, mode, max_rate }))
    }

    /// Applies the end of a subscription, or its end on this connection.
    pub(super) fn unsubscribed(
        &mut self,
        entries: &mut Entries,
        id: u32,
        mut unsubscribed: v1::Unsubscribed,
    ) -> Result<Option<Event>, Fault> {
        let unknown = Fault::UnknownAlias(unsubscribed.alias);
        // First by the command: a subscription may end before it has an alias.
        let number = self.answered(id, 0).or_else(|| self.by_alias.get(&unsubscribed.alias).copied());
        let Some((number, entry)) = number.and_then(|number| Some((number, entries.get_mut(number)?))) else {
            return Err(unknown);
        };
        let last = unsubscribed.position.take();
        let last = last.map(|last| position(entry, Some(last))).transpose()?;
        let reason = unsubscribed.reason();
        let live = self.served.get(&number).is_some_and(|served| served.state == State::Live);
        self.forget(number);
        if reason == UnsubscribeReason::PartitionsAdded && live && !entry.unsubscribing {
            // The application did not end it, so it is requested again from its position.
            self.unsent.push(number);
            return Ok(None);
        }
        if reason == UnsubscribeReason::Closing {
            // The node is about to close the session; the next connection resumes the subscription.
            if let Some(last) = last {
                entry.tracker.closing(&last);
            }
            return Ok(None);
        }
        let Some(entry) = entries.remove(number) else { return Err(unknown) };
        let position = last.or_else(|| entry.tracker.position().cloned());
        Ok(Some(Event::Unsubscribed(Unsubscribed { channel: entry.channel, reason, position })))
    }

    /// Applies the failure of a command.
    pub(super) fn refused(
        &mut self,
        entries: &mut Entries,
        id: u32,
        error: v1::Error,
        now: Instant,
    ) -> Event {
        let code = error.code();
        let mut refused =
            Refused { channel: None, code, detail: error.detail, field: error.field, retry_after: None };
        let number = self.answered(id, error.index);
        let entry = number.and_then(|number| Some((number, entries.get_mut(number)?)));
        let Some((number, entry)) = entry else { return Event::Error(refused) };
        if entry.unsubscribing {
            // The node does not have the subscription, so it has ended.
            let (channel, position) = (Arc::clone(&entry.channel), entry.tracker.position().cloned());
            self.forget(number);
            entries.remove(number);
            let reason = UnsubscribeReason::Requested;
            return Event::Unsubscribed(Unsubscribed { channel, reason, position });
        }
        refused.channel = Some(Arc::clone(&entry.channel));
        let moved = code == ErrorCode::UnknownPartition && entry.tracker.key_moved();
        refused.retry_after = match error.retry_after_ms {
            0 if moved => Some(Duration::ZERO),
            ms => retry_delay(code, ms),
        };
        match refused.retry_after {
            Some(after) => self.retry_at(number, now + after),
            None => {
                self.forget(number);
                entries.remove(number);
            }
        }
        Event::Error(refused)
    }
}

/// Returns the wait before a refused subscription is retried; `None` if a retry is of no use.
pub(super) fn retry_delay(code: ErrorCode, retry_after_ms: u32) -> Option<Duration> {
    match retry_after_ms {
        0 => (code == ErrorCode::Unavailable).then_some(RETRY_DELAY),
        ms => Some(Duration::from_millis(ms.into()).min(HINT_MAX)),
    }
}

/// Returns the partition of deliveries without one: from the node, or the only partition of the
/// position.
fn home(partition: Option<u32>, position: &Position) -> Option<PartitionId> {
    let mut partitions = position.offsets.keys().copied();
    let only = partitions.next().filter(|_| partitions.next().is_none());
    partition.and_then(|partition| PartitionId::try_from(partition).ok()).or(only)
}
