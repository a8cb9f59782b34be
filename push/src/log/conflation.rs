//! Delivering only the latest record of each key to a subscription that is behind.
//!
//! What waits is conflated when it is read, and not when it is appended: subscribers that keep up read the log as it is and
//! cost nothing more. A [`OffsetMap`] knows which records are the latest; what is read is held against it. So each record is
//! looked at twice, however many messages it takes, and the first look is shared by all subscribers of the channel.
//!
//! Plain data: no lock, no clock, no IO.
//!
//! Invariant: what is handed out are records of the channel in the order of their offsets, and up to where the reader got
//! to, every record was handed out or counted as skipped; a newer record of its key was handed out or follows.

mod offset_map;

use std::ops::Range;

use bytes::Bytes;
use tailcast_proto::Offset;

pub(crate) use self::offset_map::{OffsetMap, OffsetMapLimit};
use crate::record::chunk::{Chunk, Newest};

/// Reads the latest records of a log, chunk after chunk.
#[derive(Debug)]
pub(crate) struct LatestReader<'a> {
    offset_map: &'a OffsetMap,
    until: Offset,
    budget: usize,
    out: &'a mut Vec<Bytes>,
    read: LatestRead,
}

/// What a reader of the latest records took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatestRead {
    pub(crate) deliveries: u64,
    /// How many records before `next` were left out.
    pub(crate) skipped: u64,
    /// Up to where the reader has seen the log.
    pub(crate) next: Offset,
    /// Whether the budget ended before the latest records did.
    pub(crate) is_full: bool,
    /// The newest delivery; `None` when there is none.
    pub(crate) newest: Option<Newest>,
}

impl<'a> LatestReader<'a> {
    /// Starts at an offset, to read what is before `until`: up to `budget` bytes but at least one record, appended to `out`.
    pub(crate) fn new(
        offset_map: &'a OffsetMap,
        (from, until): (Offset, Offset),
        budget: usize,
        out: &'a mut Vec<Bytes>,
    ) -> Self {
        let read = LatestRead { deliveries: 0, skipped: 0, next: from, is_full: false, newest: None };
        Self { offset_map, until, budget, out, read }
    }

    /// Goes on from what an earlier one took.
    pub(crate) fn after(mut self, read: LatestRead) -> Self {
        self.read = read;
        self
    }

    /// Takes what a chunk has. Returns whether there is room for more.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> bool {
        let numbers = chunk.between(self.read.next, self.until);
        // Neighbours go out as one slice.
        let mut run = numbers.start..numbers.start;
        for number in numbers {
            let offset = chunk.offset(number);
            if !self.offset_map.is_latest(chunk.key(number), offset) {
                self.take_run(chunk, &run);
                run = number + 1..number + 1;
                self.read.skipped += 1;
                self.read.next = offset.next();
                continue;
            }
            let bytes = chunk.bytes_of(run.start..number + 1);
            if bytes > self.budget && self.read.deliveries + run.len() as u64 > 0 {
                self.take_run(chunk, &run);
                self.read.is_full = true;
                return false;
            }
            run.end = number + 1;
            self.read.next = offset.next();
        }
        self.take_run(chunk, &run);
        true
    }

    /// Returns what was taken.
    pub(crate) fn finish(self) -> LatestRead {
        self.read
    }

    fn take_run(&mut self, chunk: &Chunk, run: &Range<usize>) {
        if run.is_empty() {
            return;
        }
        self.budget = self.budget.saturating_sub(chunk.bytes_of(run.clone()));
        self.out.push(chunk.slice(run.clone()));
        self.read.deliveries += run.len() as u64;
        self.read.newest = Some(chunk.newest());
    }
}

#[cfg(test)]
mod tests;
