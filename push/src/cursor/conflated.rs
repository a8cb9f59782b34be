//! How a cursor reads for a conflated subscription.
//!
//! A client that keeps up gets the log as it is. One that is behind (because it resumes, because its socket had no room for
//! the message before, or because what waits does not fit into one) gets the latest record of each key. Before each message
//! what was appended since is surveyed, in the log or, where that no longer has it, in pages of catch-up; then what is next
//! is held against the survey.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use tailcast_proto::Offset;

use super::{ConflatedRange, Cursor, CursorMode, FollowUp, GatherRequest, Gathered, Source};
use crate::{
    log::{
        conflation::{LatestRead, LatestReader, OffsetMap},
        page::Page,
    },
    record::chunk::Chunk,
};

/// What a cursor knows of what waits for it.
#[derive(Debug)]
pub(super) struct Backlog {
    offset_map: Arc<RwLock<OffsetMap>>,
    /// Where the cursor was when it began to survey.
    from: Offset,
    /// Up to where it knows which records are the latest.
    at: Offset,
    /// Whether the page that was asked for is to be surveyed, and not to be delivered from.
    is_mapping: bool,
}

/// How many chunks are taken from a log under one lock.
const CHUNKS_AT_ONCE: usize = 64;
/// How many times that is done in one turn, so that one client's backlog does not hold a thread.
const ROUNDS_MAX: usize = 64;

impl Backlog {
    /// Returns up to where it is known which records are the latest.
    pub(super) fn at(&self) -> Offset {
        self.at
    }

    /// Returns where the survey goes on, while it waits for a page.
    pub(super) fn mapping_offset(&self) -> Option<Offset> {
        self.is_mapping.then_some(self.at)
    }

    pub(super) fn offset_map(&self) -> RwLockReadGuard<'_, OffsetMap> {
        self.offset_map.read()
    }
}

/// Whether what was looked for in the log is there.
enum Coverage {
    Complete,
    /// There is more than one turn should do.
    Partial,
    /// The log no longer has it, and neither has the window.
    Evicted,
}

impl Cursor {
    pub(super) fn gather_conflated(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        let CursorMode::Conflated { pace, is_resuming, .. } = &self.mode else {
            return self.gather_from_log(request.budget, out);
        };
        // A snapshot ends with what it has of a key, and not with a record beyond its end.
        let is_plain = self.is_in_snapshot() || (pace.is_none() && !is_resuming && !request.is_behind);
        if !is_plain {
            return self.gather_latest(request, out);
        }
        let (from, parts) = (self.next, out.len());
        let gathered = self.gather_from_log(request.budget, out);
        match gathered.follow_up {
            FollowUp::Idle => self.has_caught_up(),
            // What waits does not fit into one message, or is not in the log any more.
            FollowUp::More | FollowUp::Page(_) if !self.is_in_snapshot() => {
                out.truncate(parts);
                self.next = from;
                self.source = Source::Log;
                return self.gather_latest(request, out);
            }
            FollowUp::More | FollowUp::Page(_) | FollowUp::At(_) => {}
        }
        gathered
    }

    /// Hands out the latest record of each key from here on.
    fn gather_latest(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        // Before the log is read: what is appended in between is left for the next round.
        let head = self.lease.partition.head();
        let until = match self.round(request.now, head) {
            Ok(until) => until,
            Err(due) => return Gathered { follow_up: FollowUp::At(due), ..Gathered::default() },
        };
        if self.next >= until {
            // What the round was for is gone from Kafka, or there is nothing.
            self.reached(false, request.now);
            if self.next < head {
                return Gathered { follow_up: FollowUp::More, ..Gathered::default() };
            }
            self.has_caught_up();
            return Gathered::default();
        }
        let mut backlog = self.take_backlog();
        let gathered = self.gather_mapped(&mut backlog, (head, until), request, out);
        if gathered.as_ref().is_some_and(|gathered| gathered.follow_up == FollowUp::Idle) {
            self.has_caught_up();
        } else {
            self.keep_backlog(backlog);
        }
        // Which page it is depends on what is known.
        gathered.unwrap_or_else(|| self.ask())
    }

    /// Surveys what is before `until`, and hands out what is the latest of it; `None` when that takes a page.
    fn gather_mapped(
        &mut self,
        backlog: &mut Backlog,
        (head, until): (Offset, Offset),
        request: GatherRequest,
        out: &mut Vec<Bytes>,
    ) -> Option<Gathered> {
        match self.map_log(backlog, until) {
            Coverage::Complete => {}
            Coverage::Partial => return Some(Gathered { follow_up: FollowUp::More, ..Gathered::default() }),
            Coverage::Evicted => return None,
        }
        let from = self.next;
        let (read, coverage) = self.read_latest(backlog, until, request.budget, out);
        self.next = match coverage {
            Coverage::Complete if !read.is_full => read.next.max(until),
            Coverage::Complete | Coverage::Partial | Coverage::Evicted => read.next,
        };
        self.reached(read.deliveries > 0, request.now);
        let follow_up = match coverage {
            Coverage::Evicted if read.deliveries == 0 && read.skipped == 0 => return None,
            // A round that began earlier ends before the head, and the next one may have to wait.
            _ if self.next < head => FollowUp::More,
            _ => FollowUp::Idle,
        };
        let conflated = ConflatedRange { first: from, next: self.next, records: read.skipped };
        Some(Gathered {
            deliveries: read.deliveries,
            age: self.age(read.newest),
            conflated: (read.skipped > 0).then_some(conflated),
            follow_up,
        })
    }

    /// Finds out which records before `until` are the latest, as far as the log has them.
    fn map_log(&self, backlog: &mut Backlog, until: Offset) -> Coverage {
        backlog.is_mapping = false;
        backlog.at = backlog.at.max(self.next);
        for _ in 0..ROUNDS_MAX {
            // Another cursor may have been here since.
            backlog.at = backlog.offset_map.read().skip(backlog.at).max(backlog.at);
            if backlog.at >= until {
                return Coverage::Complete;
            }
            let Some(chunks) = self.unread(backlog.at) else {
                backlog.is_mapping = true;
                return Coverage::Evicted;
            };
            // Fewer than asked for are all that there are.
            let to = match chunks.last() {
                Some(last) if chunks.len() == CHUNKS_AT_ONCE => last.last_offset().next().min(until),
                Some(_) | None => until,
            };
            let mut offset_map = backlog.offset_map.write();
            for chunk in &chunks {
                let numbers = chunk.between(backlog.at, to);
                numbers.for_each(|number| offset_map.note(chunk.key(number), chunk.offset(number)));
            }
            offset_map.cover(backlog.from, to);
            drop(offset_map);
            backlog.at = to;
        }
        Coverage::Partial
    }

    /// Hands out what is the latest before `until`, as far as the log has it and the budget goes.
    fn read_latest(
        &self,
        backlog: &Backlog,
        until: Offset,
        budget: usize,
        out: &mut Vec<Bytes>,
    ) -> (LatestRead, Coverage) {
        let (mut left, parts) = (budget, out.len());
        let mut read =
            LatestRead { deliveries: 0, skipped: 0, next: self.next, is_full: false, newest: None };
        for _ in 0..ROUNDS_MAX {
            let Some(chunks) = self.unread(read.next) else { return (read, Coverage::Evicted) };
            let offset_map = backlog.offset_map.read();
            let mut reader = LatestReader::new(&offset_map, (read.next, until), left, out).after(read);
            let has_room = chunks.iter().all(|chunk| reader.take(chunk));
            read = reader.finish();
            drop(offset_map);
            let is_all = chunks.len() < CHUNKS_AT_ONCE || read.next >= until;
            if !has_room || is_all {
                return (read, Coverage::Complete);
            }
            left = budget.saturating_sub(out[parts..].iter().map(Bytes::len).sum());
        }
        (read, Coverage::Partial)
    }

    /// Returns the next chunks of the log, completed from the window where that has them; `None` when neither has them.
    fn unread(&self, at: Offset) -> Option<Vec<Chunk>> {
        loop {
            match self.log.chunks(|chunks| chunks.unread(at, CHUNKS_AT_ONCE)) {
                Some(chunks) => return Some(chunks),
                None if at >= self.lease.partition.tail() => {
                    self.lease.partition.extend_back(&self.log, at);
                }
                None => return None,
            }
        }
    }

    /// Takes out what is known of what waits; begins to look where the cursor is.
    fn take_backlog(&mut self) -> Backlog {
        let known = match &mut self.mode {
            CursorMode::Conflated { backlog, .. } => backlog.take(),
            CursorMode::Lossless => None,
        };
        known.unwrap_or_else(|| Backlog {
            offset_map: self.log.offset_map(self.lease.partition.offset_map_limit()),
            from: self.next,
            at: self.next,
            is_mapping: false,
        })
    }

    /// Keeps what is known of what waits for the next turn.
    fn keep_backlog(&mut self, known: Backlog) {
        if let CursorMode::Conflated { backlog, .. } = &mut self.mode {
            *backlog = Some(known);
        }
    }

    /// Notes which records of a page are the latest, if that is what the page was asked for. Returns whether it was.
    pub(super) fn map_page(&mut self, page: &Page) -> bool {
        let CursorMode::Conflated { backlog: Some(backlog), .. } = &mut self.mode else { return false };
        if !std::mem::take(&mut backlog.is_mapping) {
            return false;
        }
        // Another cursor may have been here since.
        let at = backlog.offset_map.read().skip(backlog.at).max(backlog.at);
        if at < page.to {
            let mut offset_map = backlog.offset_map.write();
            page.for_each_key(at, &self.log.channel, |key, offset| offset_map.note(key, offset));
            offset_map.cover(backlog.from, page.to);
        }
        backlog.at = at.max(page.to);
        true
    }

    /// What is before `low` is gone from Kafka, and is not surveyed either.
    pub(super) fn forget_before(&mut self, low: Offset) {
        if let CursorMode::Conflated { backlog: Some(backlog), .. } = &mut self.mode {
            backlog.at = backlog.at.max(low);
        }
    }

    fn has_caught_up(&mut self) {
        if let CursorMode::Conflated { backlog, is_resuming, .. } = &mut self.mode {
            *backlog = None;
            *is_resuming = false;
        }
    }

    fn round(&mut self, now: Instant, head: Offset) -> Result<Offset, Instant> {
        match &mut self.mode {
            CursorMode::Conflated { pace: Some(pace), .. } => pace.round(now, head),
            CursorMode::Conflated { pace: None, .. } | CursorMode::Lossless => Ok(head),
        }
    }

    fn reached(&mut self, has_delivered: bool, now: Instant) {
        if let CursorMode::Conflated { pace: Some(pace), .. } = &mut self.mode {
            pace.reached(self.next, has_delivered, now);
        }
    }
}
