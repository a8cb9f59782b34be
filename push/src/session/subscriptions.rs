//! A session's subscriptions and their cursors: who has news, who wants a page, and what goes into the next message.
//!
//! No IO. The session asks for pages and brings them; the feed rings.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use slab::Slab;
use tailcast_proto::{
    Channel, Epoch, Offset, PartitionId, Position, TopicName,
    push::v1::{self, UnsubscribeReason},
};

use super::start::Started;
use crate::{
    catch_up::{Page, PageError},
    channel_log::{Encoding, NodeChannel},
    cursor::{Cursor, Lost, Then},
    doorbell::{CursorId, Doorbell, Ringer},
    partition::{Lag, Partition},
};

/// A session's subscriptions.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    doorbell: Arc<Doorbell>,
    by_alias: HashMap<u32, Subscription>,
    cursors: Slab<Held>,
    next_serial: u64,
    /// The cursors that have something to hand out, each once.
    ready: VecDeque<CursorId>,
    /// The cursors that wait for a page to be asked for.
    wishing: VecDeque<CursorId>,
    /// The cursors that a page was asked for, or that have one.
    paging: usize,
}

#[derive(Debug)]
struct Subscription {
    channel: Arc<NodeChannel>,
    epoch: Epoch,
    partition_count: u32,
    cursors: Vec<CursorId>,
}

#[derive(Debug)]
struct Held {
    cursor: Cursor,
    alias: u32,
    /// Tells this cursor from an earlier one with the same id.
    serial: u64,
    is_ready: bool,
    is_paging: bool,
}

/// A page that a cursor needs.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) cursor: CursorId,
    pub(crate) serial: u64,
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: Offset,
}

/// What goes into one WebSocket message.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) deliveries: u64,
    /// The timestamp of the newest live delivery, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: Option<i64>,
}

/// Something that happened to a subscription and that the client is told.
#[derive(Debug)]
pub(crate) enum Event {
    Skipped(v1::Skipped),
    Ended(v1::Unsubscribed),
}

/// How many pages a session may hold or wait for: what it holds counts towards nobody else's bound.
const PAGING_MAX: usize = 4;

impl Subscriptions {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            doorbell,
            by_alias: HashMap::new(),
            cursors: Slab::new(),
            next_serial: 0,
            ready: VecDeque::new(),
            wishing: VecDeque::new(),
            paging: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_alias.len()
    }

    /// Whether there is a subscription to a channel.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        self.by_alias.values().any(|subscription| subscription.channel.channel == *channel)
    }

    /// Adds a subscription. Returns its position.
    pub(crate) fn add(&mut self, started: Started, encoding: Encoding) -> (u32, Position) {
        let Started { channel, epoch, partition_count, partitions, .. } = started;
        let alias = channel.alias;
        let mut cursors = Vec::with_capacity(partitions.len());
        for (lease, next) in partitions {
            let entry = self.cursors.vacant_entry();
            let id = CursorId(entry.key());
            let ringer = Ringer::new(Arc::clone(&self.doorbell), id);
            let cursor = Cursor::new(lease, &channel, encoding, next, ringer);
            self.next_serial += 1;
            entry.insert(Held { cursor, alias, serial: self.next_serial, is_ready: false, is_paging: false });
            cursors.push(id);
        }
        // What was appended before the cursors joined the log rang nobody.
        cursors.iter().for_each(|id| self.make_ready(*id));
        let subscription = Subscription { channel, epoch, partition_count, cursors };
        let position = self.position(&subscription);
        self.by_alias.insert(alias, subscription);
        (alias, position)
    }

    /// Ends a subscription. `None` when there is no such subscription.
    pub(crate) fn remove(&mut self, alias: u32, reason: UnsubscribeReason) -> Option<v1::Unsubscribed> {
        let subscription = self.by_alias.remove(&alias)?;
        let position = self.position(&subscription);
        for id in &subscription.cursors {
            let held = self.cursors.remove(id.0);
            self.paging -= usize::from(held.is_paging);
        }
        self.ready.retain(|id| !subscription.cursors.contains(id));
        self.wishing.retain(|id| !subscription.cursors.contains(id));
        Some(v1::Unsubscribed {
            alias,
            reason: reason.into(),
            position: Some((&position).into()),
            name: subscription.channel.channel.to_string(),
        })
    }

    /// Returns the alias of the subscription to a channel.
    pub(crate) fn alias_of(&self, channel: &Channel) -> Option<u32> {
        self.by_alias
            .iter()
            .find(|(_, subscription)| subscription.channel.channel == *channel)
            .map(|(alias, _)| *alias)
    }

    /// Takes the news that rang. Returns the subscriptions that ended, because their topic did.
    pub(crate) fn take_news(&mut self) -> Vec<Event> {
        let ringer_of = |id: CursorId| self.cursors.get(id.0).map(|held| Arc::clone(held.cursor.ringer()));
        let news = self.doorbell.take_news(ringer_of);
        let mut ended = Vec::new();
        for id in news {
            let Some(held) = self.cursors.get(id.0) else { continue };
            match held.cursor.partition().closed() {
                None => self.make_ready(id),
                Some(reason) => ended.extend(self.remove(held.alias, reason).map(Event::Ended)),
            }
        }
        ended
    }

    /// Hands out what the cursors have not handed out, in turn, up to `budget` bytes but at least one delivery.
    pub(crate) fn gather(&mut self, budget: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.bytes < budget
            && let Some(id) = self.ready.pop_front()
        {
            let held = &mut self.cursors[id.0];
            held.is_ready = false;
            let first = batch.parts.len();
            let gathered = held.cursor.gather(budget - batch.bytes, &mut batch.parts);
            batch.bytes += batch.parts[first..].iter().map(Bytes::len).sum::<usize>();
            batch.deliveries += gathered.deliveries;
            batch.timestamp_ms = batch.timestamp_ms.max(gathered.timestamp_ms);
            if held.is_paging && (!held.cursor.is_catching_up() || matches!(gathered.then, Then::Page(_))) {
                held.is_paging = false;
                self.paging -= 1;
            }
            match gathered.then {
                Then::Rest => {}
                Then::More => self.make_ready(id),
                Then::Page(_) => self.wishing.push_back(id),
            }
        }
        batch
    }

    /// Takes a page that is to be asked for, if the session may hold another one.
    pub(crate) fn next_wish(&mut self) -> Option<Wish> {
        if self.paging >= PAGING_MAX {
            return None;
        }
        let id = self.wishing.pop_front()?;
        let held = &mut self.cursors[id.0];
        held.is_paging = true;
        self.paging += 1;
        let partition = Arc::clone(held.cursor.partition());
        Some(Wish { cursor: id, serial: held.serial, partition, offset: held.cursor.next() })
    }

    /// Takes a page that was asked for, or why there is none.
    pub(crate) fn take_page(
        &mut self,
        id: CursorId,
        serial: u64,
        page: Result<&Arc<Page>, PageError>,
    ) -> Option<Event> {
        let held = self.cursors.get_mut(id.0).filter(|held| held.serial == serial)?;
        let alias = held.alias;
        match held.cursor.take_page(page) {
            Ok(lost) => {
                let partition = held.cursor.partition().id;
                if !held.cursor.is_catching_up() {
                    held.is_paging = false;
                    self.paging -= 1;
                }
                self.make_ready(id);
                lost.map(|lost| Event::Skipped(skipped(alias, partition, lost)))
            }
            Err(gone) => {
                let found = match gone {
                    PageError::Recreated => UnsubscribeReason::TopicRecreated,
                    PageError::Truncated => UnsubscribeReason::LogTruncated,
                    PageError::Closed | PageError::Expired { .. } => UnsubscribeReason::TopicDeleted,
                };
                let reason = held.cursor.partition().closed().unwrap_or(found);
                self.remove(alias, reason).map(Event::Ended)
            }
        }
    }

    /// Returns the partitions that moved since this was last asked, and up to where everything was handed out.
    ///
    /// True once what was gathered before has arrived: it has to be written behind that.
    pub(crate) fn progress(&mut self) -> Vec<v1::Progress> {
        struct Partition {
            next: Option<Offset>,
            has_moved: bool,
            behind: Vec<u32>,
        }
        let mut partitions: BTreeMap<(TopicName, PartitionId), Partition> = BTreeMap::new();
        for (_, held) in &mut self.cursors {
            let partition = held.cursor.partition();
            let key = (partition.topic.clone(), partition.id);
            let entry = partitions.entry(key).or_insert(Partition {
                next: None,
                has_moved: false,
                behind: Vec::new(),
            });
            if held.cursor.is_catching_up() || held.is_ready {
                entry.behind.push(held.alias);
                continue;
            }
            entry.has_moved |= held.cursor.progress().is_some();
            let next = held.cursor.next();
            entry.next = Some(entry.next.map_or(next, |least| least.min(next)));
        }
        let moved = partitions.into_iter().filter(|(_, partition)| partition.has_moved);
        moved
            .filter_map(|((topic, id), partition)| {
                Some(v1::Progress {
                    topic: topic.to_string(),
                    partition: id.get(),
                    next_offset: partition.next?.get(),
                    except_aliases: partition.behind,
                })
            })
            .collect()
    }

    /// Looks at every cursor again, also at those that nothing rang for: their partition may have moved on.
    pub(crate) fn look_at_all(&mut self) {
        let all: Vec<_> = self.cursors.iter().map(|(id, _)| CursorId(id)).collect();
        all.into_iter().for_each(|id| self.make_ready(id));
    }

    /// Returns the greatest lag among the partitions.
    pub(crate) fn lag(&self, now_ms: i64) -> Lag {
        let lags = self.cursors.iter().map(|(_, held)| held.cursor.partition().lag(now_ms));
        lags.fold(Lag::default(), |worst, lag| Lag {
            ms: worst.ms.max(lag.ms),
            records: worst.records.max(lag.records),
        })
    }

    fn position(&self, subscription: &Subscription) -> Position {
        let next = |id: &CursorId| {
            let cursor = &self.cursors[id.0].cursor;
            (cursor.partition().id, cursor.next())
        };
        Position {
            epoch: Some(subscription.epoch),
            offsets: subscription.cursors.iter().map(next).collect(),
            partition_count: Some(subscription.partition_count),
        }
    }

    fn make_ready(&mut self, id: CursorId) {
        let held = &mut self.cursors[id.0];
        if !std::mem::replace(&mut held.is_ready, true) {
            self.ready.push_back(id);
        }
    }
}

fn skipped(alias: u32, partition: PartitionId, lost: Lost) -> v1::Skipped {
    v1::Skipped {
        alias,
        partition: partition.get(),
        first_offset: lost.first.get(),
        next_offset: lost.next.get(),
        reason: v1::SkipReason::Retention.into(),
        records: 0,
    }
}
