//! How a cursor reads for a conflated subscription.
//!
//! A client that keeps up gets every record in the log. One that is behind (because it resumes,
//! because its socket was blocked, or because its backlog does not fit into one message) gets the
//! latest record of each key. Before each message, newly appended records are added to the offset
//! map, from the log or from catch-up pages. Then the records at the offsets in the map are
//! delivered.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use tailcast_proto::Offset;

use super::{ConflatedRange, Cursor, CursorMode, CursorSource, FollowUp, GatherRequest, Gathered};
use crate::{
    log::{
        conflation::{LatestRead, LatestReader, OffsetMap},
        page::Page,
    },
    record::chunk::Chunk,
};

/// State of a cursor that is behind.
#[derive(Debug)]
pub(super) struct ConflatedBacklog {
    offset_map: Arc<RwLock<OffsetMap>>,
    /// Where the cursor began to fill the offset map.
    from: Offset,
    /// The offset map is complete from the cursor up to here.
    at: Offset,
    /// Whether the requested page is for the offset map, and not for delivery.
    is_mapping: bool,
}

/// Number of chunks taken from a log under one lock.
const CHUNKS_AT_ONCE: usize = 64;
/// Maximum number of such steps in one call, so that a long backlog of one client does not occupy a
/// thread.
const ROUNDS_MAX: usize = 64;

impl ConflatedBacklog {
    /// Returns the offset up to which the offset map is complete.
    pub(super) fn at(&self) -> Offset {
        self.at
    }

    /// Returns the offset at which the offset map has to be continued, if that needs a page.
    pub(super) fn mapping_offset(&self) -> Option<Offset> {
        self.is_mapping.then_some(self.at)
    }

    pub(super) fn offset_map(&self) -> RwLockReadGuard<'_, OffsetMap> {
        self.offset_map.read()
    }
}

/// How much of the requested range the log had.
enum Coverage {
    Complete,
    /// More than one call should process.
    Partial,
    /// Neither the log nor the window has it any more.
    Evicted,
}

impl Cursor {
    pub(super) fn gather_conflated(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        let CursorMode::Conflated { pace, is_resuming, .. } = &self.mode else {
            return self.gather_from_log(request.budget, out);
        };
        // A snapshot ends with the value that it has of a key, not with a record beyond its end.
        let is_plain = self.is_in_snapshot() || (pace.is_none() && !is_resuming && !request.is_behind);
        if !is_plain {
            return self.gather_latest(request, out);
        }
        let (from, parts) = (self.next, out.len());
        let gathered = self.gather_from_log(request.budget, out);
        match gathered.follow_up {
            FollowUp::Idle => self.has_caught_up(),
            // The backlog does not fit into one message, or was evicted from the log.
            FollowUp::More | FollowUp::Page(_) if !self.is_in_snapshot() => {
                out.truncate(parts);
                self.next = from;
                self.source = CursorSource::Log;
                return self.gather_latest(request, out);
            }
            FollowUp::More | FollowUp::Page(_) | FollowUp::At(_) => {}
        }
        gathered
    }

    /// Delivers the latest record of each key from here on.
    fn gather_latest(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        // Loaded before the log is read. Records appended in between are left to the next round.
        let head = self.lease.partition.head();
        let until = match self.round(request.now, head) {
            Ok(until) => until,
            Err(due) => return Gathered { follow_up: FollowUp::At(due), ..Gathered::default() },
        };
        if self.next >= until {
            // The round's records have expired, or there were none.
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
        // The page depends on the state of the backlog.
        gathered.unwrap_or_else(|| self.ask())
    }

    /// Completes the offset map up to `until`, and delivers the latest records before it. Returns
    /// `None` if that needs a page.
    fn gather_mapped(
        &mut self,
        backlog: &mut ConflatedBacklog,
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
            // An earlier round may end before the head, and the next one may have to wait.
            _ if self.next < head => FollowUp::More,
            _ => FollowUp::Idle,
        };
        let conflated = ConflatedRange { first: from, next: self.next, records: read.skipped };
        Some(Gathered {
            deliveries: read.deliveries,
            newest: self.record_time(read.newest),
            conflated: (read.skipped > 0).then_some(conflated),
            follow_up,
        })
    }

    /// Completes the offset map up to `until`, as far as the log has the records.
    fn map_log(&self, backlog: &mut ConflatedBacklog, until: Offset) -> Coverage {
        backlog.is_mapping = false;
        backlog.at = backlog.at.max(self.next);
        for _ in 0..ROUNDS_MAX {
            // Another cursor may have extended the map.
            backlog.at = backlog.offset_map.read().next_unscanned(backlog.at).max(backlog.at);
            if backlog.at >= until {
                return Coverage::Complete;
            }
            let Some(chunks) = self.unread(backlog.at) else {
                backlog.is_mapping = true;
                return Coverage::Evicted;
            };
            // Fewer chunks than requested means the log has no more.
            let to = match chunks.last() {
                Some(last) if chunks.len() == CHUNKS_AT_ONCE => last.last_offset().next().min(until),
                Some(_) | None => until,
            };
            let mut offset_map = backlog.offset_map.write();
            for chunk in &chunks {
                let numbers = chunk.between(backlog.at, to);
                numbers.for_each(|number| offset_map.insert(chunk.key(number), chunk.offset(number)));
            }
            offset_map.mark_scanned(backlog.from, to);
            drop(offset_map);
            backlog.at = to;
        }
        Coverage::Partial
    }

    /// Delivers the latest records before `until`, as far as the log has them and the budget
    /// allows.
    fn read_latest(
        &self,
        backlog: &ConflatedBacklog,
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

    /// Returns the next chunks of the log, extended from the window if necessary; `None` if neither
    /// has the records.
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

    /// Takes the backlog state, or creates one at the cursor.
    fn take_backlog(&mut self) -> ConflatedBacklog {
        let known = match &mut self.mode {
            CursorMode::Conflated { backlog, .. } => backlog.take(),
            CursorMode::Lossless => None,
        };
        known.unwrap_or_else(|| ConflatedBacklog {
            offset_map: self.log.offset_map(self.lease.partition.offset_map_limit()),
            from: self.next,
            at: self.next,
            is_mapping: false,
        })
    }

    /// Stores the backlog state for the next call.
    fn keep_backlog(&mut self, known: ConflatedBacklog) {
        if let CursorMode::Conflated { backlog, .. } = &mut self.mode {
            *backlog = Some(known);
        }
    }

    /// Adds the records of a page to the offset map, if the page was requested for that. Returns
    /// whether it was.
    pub(super) fn map_page(&mut self, page: &Page) -> bool {
        let CursorMode::Conflated { backlog: Some(backlog), .. } = &mut self.mode else { return false };
        if !std::mem::take(&mut backlog.is_mapping) {
            return false;
        }
        // Another cursor may have extended the map.
        let at = backlog.offset_map.read().next_unscanned(backlog.at).max(backlog.at);
        if at < page.to {
            let mut offset_map = backlog.offset_map.write();
            page.for_each_key(at, &self.log.channel, |key, offset| offset_map.insert(key, offset));
            offset_map.mark_scanned(backlog.from, page.to);
        }
        backlog.at = at.max(page.to);
        true
    }

    /// Skips offsets before `low`, which have expired, when filling the offset map.
    pub(super) fn skip_expired(&mut self, low: Offset) {
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
