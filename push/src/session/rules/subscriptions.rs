//! A session's subscriptions and their cursors: which have news, which need a page, which are
//! delayed, and what goes into the next message.
//!
//! No IO. The session requests pages and passes them in; the feed rings; time is an argument.

mod batch;
mod progress;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Instant,
};

use slab::Slab;
use tailcast_proto::{
    Channel, Epoch, Offset, Position,
    delivery::Format,
    push::v1::{self, UnsubscribeReason},
};

pub(crate) use self::batch::Batch;
use self::batch::skipped;
use crate::{
    cursor::{Cursor, DeliveryMode},
    kafka::catch_up::PageError,
    partition::Partition,
    record::channel::{Encoding, NodeChannel},
    session::{
        rules::{PageAnswer, PageRefusal},
        start::Started,
    },
    wake::doorbell::{CursorId, Doorbell, Ringer},
};

/// A session's subscriptions.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    doorbell: Arc<Doorbell>,
    by_alias: HashMap<u32, Subscription>,
    cursors: Slab<OpenCursor>,
    next_serial: u64,
    /// Empty: a buffer that is reused for news.
    news: Vec<CursorId>,
    /// Cursors that have something to deliver, each once.
    ready: VecDeque<CursorId>,
    /// Cursors that may not deliver before a time.
    delayed: BTreeSet<(Instant, CursorId)>,
    /// Cursors that need a page which was not requested yet.
    awaiting_page: VecDeque<CursorId>,
    /// How many cursors have a page, or have requested one.
    pages_open: usize,
}

#[derive(Debug)]
struct Subscription {
    channel: Arc<NodeChannel>,
    epoch: Epoch,
    partition_count: u32,
    cursors: Vec<CursorId>,
    format: Format,
    /// The snapshot with which it started, until its end was sent.
    snapshot: Option<Snapshot>,
}

/// A snapshot that is being delivered.
#[derive(Debug)]
struct Snapshot {
    /// How many of the subscription's partitions have not passed its end.
    partitions_left: usize,
    values: u64,
}

#[derive(Debug)]
struct OpenCursor {
    cursor: Cursor,
    alias: u32,
    /// Distinguishes this cursor from an earlier one with the same id.
    serial: u64,
    is_ready: bool,
    /// Whether it has ever reached the end of its partition.
    was_live: bool,
    /// The time before which it may not deliver.
    delayed_until: Option<Instant>,
    is_paging: bool,
}

/// A page that a cursor needs.
#[derive(Debug)]
pub(crate) struct PageRequest {
    pub(crate) cursor: CursorId,
    pub(crate) serial: u64,
    pub(crate) channel: Arc<NodeChannel>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: Offset,
}

/// A change of a subscription that is reported to the client.
#[derive(Debug)]
pub(crate) enum Notice {
    Skipped(v1::Skipped),
    Ended(v1::Unsubscribed),
}

/// Maximum number of pages that a session may hold or request: held pages count towards no other
/// limit.
const PAGES_OPEN_MAX: usize = 4;

impl Subscriptions {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            doorbell,
            by_alias: HashMap::new(),
            cursors: Slab::new(),
            next_serial: 0,
            news: Vec::new(),
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            awaiting_page: VecDeque::new(),
            pages_open: 0,
        }
    }

    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    pub(crate) fn len(&self) -> usize {
        self.by_alias.len()
    }

    /// Returns the number of partitions of all subscriptions.
    pub(crate) fn cursors(&self) -> usize {
        self.cursors.len()
    }

    /// Whether there is a subscription to a channel.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        self.by_alias.values().any(|subscription| subscription.channel.channel == *channel)
    }

    /// Adds a subscription. Returns its position.
    pub(crate) fn add(
        &mut self,
        started: Started,
        encoding: Encoding,
        mode: DeliveryMode,
    ) -> (u32, Position) {
        let Started { channel, epoch, partition_count, partitions, .. } = started;
        let alias = channel.alias;
        let mut cursors = Vec::with_capacity(partitions.len());
        if self.cursors.capacity() == 0 {
            // Most sessions subscribe once: no room for three more cursors, which are large. Later
            // it grows by doubling.
            self.cursors.reserve_exact(partitions.len());
        }
        for (lease, from) in partitions {
            let entry = self.cursors.vacant_entry();
            let id = CursorId(entry.key());
            let ringer = Ringer::new(Arc::clone(&self.doorbell), id);
            let cursor = Cursor::new(lease, &channel, encoding, (from, mode), ringer);
            self.next_serial += 1;
            entry.insert(OpenCursor {
                cursor,
                alias,
                serial: self.next_serial,
                is_ready: false,
                was_live: false,
                delayed_until: None,
                is_paging: false,
            });
            cursors.push(id);
        }
        // Records that were appended before the cursors joined the log did not ring.
        cursors.iter().for_each(|id| self.make_ready(*id));
        let in_snapshot = cursors.iter().filter(|id| self.cursors[id.0].cursor.is_in_snapshot()).count();
        let snapshot = (in_snapshot > 0).then_some(Snapshot { partitions_left: in_snapshot, values: 0 });
        let format = encoding.format;
        let subscription = Subscription { channel, epoch, partition_count, cursors, format, snapshot };
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
            self.pages_open -= usize::from(held.is_paging);
            if let Some(until) = held.delayed_until {
                self.delayed.remove(&(until, *id));
            }
        }
        self.ready.retain(|id| !subscription.cursors.contains(id));
        self.awaiting_page.retain(|id| !subscription.cursors.contains(id));
        Some(v1::Unsubscribed {
            alias,
            reason: reason.into(),
            position: Some((&position).into()),
            name: subscription.channel.channel.to_string(),
        })
    }

    /// Ends all subscriptions, because the session closes. Returns those from whose position a
    /// client can resume: one that is in the middle of its snapshot has none.
    pub(crate) fn close(&mut self) -> Vec<v1::Unsubscribed> {
        self.ready.clear();
        self.awaiting_page.clear();
        let has_position = |(_, subscription): &(&u32, &Subscription)| subscription.snapshot.is_none();
        let mut aliases: Vec<_> =
            self.by_alias.iter().filter(has_position).map(|(alias, _)| *alias).collect();
        aliases.sort_unstable();
        aliases.into_iter().filter_map(|alias| self.remove(alias, UnsubscribeReason::Closing)).collect()
    }

    /// Returns the alias of the subscription to a channel.
    pub(crate) fn alias_of(&self, channel: &Channel) -> Option<u32> {
        self.by_alias
            .iter()
            .find(|(_, subscription)| subscription.channel.channel == *channel)
            .map(|(alias, _)| *alias)
    }

    /// Takes the news of the doorbell. Returns the subscriptions that ended because their topic
    /// did.
    pub(crate) fn take_news(&mut self) -> Vec<Notice> {
        // A delayed cursor need not listen: it is checked when its time has come.
        let ringer_of = |id: CursorId| {
            let held = self.cursors.get(id.0).filter(|held| held.delayed_until.is_none());
            held.map(|held| held.cursor.ringer())
        };
        let mut news = mem::take(&mut self.news);
        self.doorbell.take_news(&mut news, ringer_of);
        let mut ended = Vec::new();
        for id in news.drain(..) {
            let Some(held) = self.cursors.get(id.0) else { continue };
            match held.cursor.partition().closed() {
                None => self.make_ready(id),
                Some(reason) => ended.extend(self.remove(held.alias, reason).map(Notice::Ended)),
            }
        }
        self.news = news;
        ended
    }

    /// Whether a cursor is known to have something to deliver.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns when the next delayed cursor may deliver.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Ends the delay of the cursors whose time has come.
    pub(crate) fn wake_due(&mut self, now: Instant) {
        while let Some((due, id)) = self.delayed.first().copied()
            && due <= now
        {
            self.delayed.pop_first();
            let held = &mut self.cursors[id.0];
            held.delayed_until = None;
            held.cursor.ringer().listen();
            self.make_ready(id);
        }
    }

    /// Returns the next page to request, if the session may hold another one.
    pub(crate) fn next_page_request(&mut self) -> Option<PageRequest> {
        if self.pages_open >= PAGES_OPEN_MAX {
            return None;
        }
        let id = self.awaiting_page.pop_front()?;
        let held = &mut self.cursors[id.0];
        held.is_paging = true;
        self.pages_open += 1;
        let partition = Arc::clone(held.cursor.partition());
        let channel = Arc::clone(&self.by_alias[&held.alias].channel);
        let (serial, offset) = (held.serial, held.cursor.page_offset());
        Some(PageRequest { cursor: id, serial, channel, partition, offset })
    }

    /// Takes a requested page, or the reason why there is none.
    pub(crate) fn take_page(
        &mut self,
        PageAnswer { cursor: id, serial, page }: PageAnswer,
    ) -> Option<Notice> {
        let held = self.cursors.get_mut(id.0).filter(|held| held.serial == serial)?;
        let alias = held.alias;
        let page = match &page {
            Ok(page) => Ok(page),
            Err(PageRefusal::Unreadable(error)) => Err(*error),
            Err(PageRefusal::Forbidden) => {
                return self.remove(alias, UnsubscribeReason::Forbidden).map(Notice::Ended);
            }
        };
        match held.cursor.take_page(page) {
            Ok(lost) => {
                let partition = held.cursor.partition().id;
                if !held.cursor.is_paging() {
                    held.is_paging = false;
                    self.pages_open -= 1;
                }
                self.make_ready(id);
                lost.map(|lost| Notice::Skipped(skipped(alias, partition, lost)))
            }
            Err(gone) => {
                let found = match gone {
                    PageError::Recreated => UnsubscribeReason::TopicRecreated,
                    PageError::Truncated => UnsubscribeReason::LogTruncated,
                    PageError::Closed | PageError::Expired { .. } => UnsubscribeReason::TopicDeleted,
                };
                let reason = held.cursor.partition().closed().unwrap_or(found);
                self.remove(alias, reason).map(Notice::Ended)
            }
        }
    }

    /// Checks every cursor again, even if it did not ring: its partition may have moved on.
    pub(crate) fn recheck_all(&mut self) {
        let all: Vec<_> = self.cursors.iter().map(|(id, _)| CursorId(id)).collect();
        all.into_iter().for_each(|id| self.make_ready(id));
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
        if held.delayed_until.is_none() && !mem::replace(&mut held.is_ready, true) {
            self.ready.push_back(id);
        }
    }
}
