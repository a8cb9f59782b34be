//! How a cursor reads for a conflated subscription.
//!
//! A client that keeps up gets the log as it is. One that is behind, because its socket had no room for the message before
//! or because what waits does not fit into one, gets the latest record of each key. What has left the log is read twice
//! from the pages of catch-up: first to survey which records are the latest, then to take those.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tailcast_proto::Offset;

use super::{Conflated, Cursor, CursorMode, Gathered, Then, Turn};
use crate::{
    catch_up::Page,
    conflation::{Survey, latest},
};

/// What a cursor knows of the stretch that has left the log.
#[derive(Debug)]
pub(super) struct Behind {
    survey: Arc<Mutex<Survey>>,
    /// Where the cursor was when it began to survey.
    from: Offset,
    /// Up to where it has surveyed; `None` when that is done.
    at: Option<Offset>,
}

impl Behind {
    /// Returns where the survey goes on, while there is something to survey.
    pub(super) fn surveying(&self) -> Option<Offset> {
        self.at
    }

    pub(super) fn survey(&self) -> MutexGuard<'_, Survey> {
        self.survey.lock()
    }
}

impl Cursor {
    pub(super) fn gather_conflated(&mut self, turn: Turn, out: &mut Vec<Bytes>) -> Gathered {
        let is_paced = matches!(self.mode, CursorMode::Conflated { pace: Some(_), .. });
        if !is_paced && !turn.is_behind {
            let (from, parts) = (self.next, out.len());
            let gathered = self.gather_from_log(turn.budget, out);
            match gathered.then {
                Then::More => {
                    out.truncate(parts);
                    self.next = from;
                }
                Then::Page(_) => return gathered,
                Then::Rest | Then::Later(_) => {
                    self.has_caught_up();
                    return gathered;
                }
            }
        }
        self.gather_latest(turn, out)
    }

    /// Hands out the latest record of each key that the log has from here on.
    fn gather_latest(&mut self, turn: Turn, out: &mut Vec<Bytes>) -> Gathered {
        // Before the log is read: what is appended in between is left for the next round.
        let head = self.lease.partition.head();
        // A snapshot ends with what it has, and not with something that comes after its end.
        let end = self.snapshot_until.map_or(head, |until| until.min(head));
        let until = match self.round(turn.now, end) {
            Ok(until) => until,
            Err(due) => return Gathered { then: Then::Later(due), ..Gathered::default() },
        };
        let chunks = loop {
            match self.log.chunks(|chunks| chunks.unread(self.next)) {
                Some(chunks) => break chunks,
                None if self.next >= self.lease.partition.tail() => {
                    self.lease.partition.extend_back(&self.log, self.next);
                }
                None => return self.ask(),
            }
        };
        self.has_caught_up();
        let from = self.next;
        let latest = latest(&chunks, (from, until), turn.budget, out);
        self.next = if latest.more { latest.next } else { latest.next.max(until) };
        self.reached(latest.deliveries > 0, turn.now);
        let conflated = Conflated { first: from, next: self.next, records: latest.skipped };
        Gathered {
            deliveries: latest.deliveries,
            timestamp_ms: latest.timestamp_ms,
            conflated: (latest.skipped > 0).then_some(conflated),
            // A round that began earlier ends before the head, and the next one may have to wait.
            then: if latest.more || self.next < head { Then::More } else { Then::Rest },
        }
    }

    /// Finds out where a survey of what has left the log goes on, and whether it is done.
    pub(super) fn look_ahead(&mut self) {
        // What a snapshot has of a key is not left out for something that comes after its end, and that is near.
        if self.is_in_snapshot() {
            return;
        }
        // Read before the mode is borrowed for change. The window's tail counts too: the log can be completed from there.
        let log_from = self.log.chunks(|chunks| chunks.complete_from()).min(self.lease.partition.tail());
        let CursorMode::Conflated { behind, .. } = &mut self.mode else { return };
        let keys = self.lease.partition.survey_keys();
        let behind = behind.get_or_insert_with(|| Behind {
            survey: self.log.survey(keys),
            from: self.next,
            at: Some(self.next),
        });
        if let Some(at) = behind.at {
            let at = behind.survey.lock().skip(at);
            behind.at = (at < log_from).then_some(at);
        }
    }

    /// Notes which records of a page are the latest, if that is what the page was asked for. Returns whether it was.
    pub(super) fn survey(&mut self, page: &Page) -> bool {
        let CursorMode::Conflated { behind: Some(behind), .. } = &mut self.mode else { return false };
        let Some(at) = behind.at else { return false };
        let mut survey = behind.survey.lock();
        page.survey(at, &self.log.channel, |key, offset| survey.note(key, offset));
        survey.cover(behind.from, page.to);
        behind.at = Some(at.max(page.to));
        true
    }

    /// What is before `low` is gone from Kafka, and is not surveyed either.
    pub(super) fn forget_before(&mut self, low: Offset) {
        if let CursorMode::Conflated { behind: Some(behind), .. } = &mut self.mode {
            behind.at = behind.at.map(|at| at.max(low));
        }
    }

    fn has_caught_up(&mut self) {
        if let CursorMode::Conflated { behind, .. } = &mut self.mode {
            *behind = None;
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
