//! Delivering only the latest record of each key to a subscription that is behind.
//!
//! Records are conflated when they are read, not when they are appended, so subscribers that keep
//! up pay nothing. A first pass builds an [`OffsetMap`], which has the offset of the latest record
//! of each key; a second pass delivers the records at those offsets. All subscribers of a channel
//! share the map.
//!
//! Plain data: no lock, no clock, no IO.
//!
//! Invariant: records of the channel are delivered in offset order, and every record before the
//! reader's position was delivered or counted as skipped. For each skipped record, a newer one of
//! the same key was delivered or follows.

mod offset_map;

use std::ops::Range;

use bytes::Bytes;
use tailcast_proto::Offset;

pub(crate) use self::offset_map::{OffsetMap, OffsetMapLimit};
use crate::record::chunk::{Chunk, Newest};

/// Reads the latest record of each key from the chunks of a log.
#[derive(Debug)]
pub(crate) struct LatestReader<'a> {
    offset_map: &'a OffsetMap,
    until: Offset,
    budget: usize,
    out: &'a mut Vec<Bytes>,
    read: LatestRead,
}

/// The result of reading the latest records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LatestRead {
    pub(crate) deliveries: u64,
    /// Number of records before `next` that were left out.
    pub(crate) skipped: u64,
    /// The offset up to which the log was read.
    pub(crate) next: Offset,
    /// Whether the budget was used up before the end was reached.
    pub(crate) is_full: bool,
    /// The newest delivery; `None` if there is none.
    pub(crate) newest: Option<Newest>,
}

impl<'a> LatestReader<'a> {
    /// Starts to read from an offset up to `until`, with up to `budget` bytes but at least one
    /// record appended to `out`.
    pub(crate) fn new(
        offset_map: &'a OffsetMap,
        (from, until): (Offset, Offset),
        budget: usize,
        out: &'a mut Vec<Bytes>,
    ) -> Self {
        let read = LatestRead { deliveries: 0, skipped: 0, next: from, is_full: false, newest: None };
        Self { offset_map, until, budget, out, read }
    }

    /// Continues after an earlier read.
    pub(crate) fn after(mut self, read: LatestRead) -> Self {
        self.read = read;
        self
    }

    /// Reads a chunk. Returns whether the budget has room for more.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> bool {
        let numbers = chunk.between(self.read.next, self.until);
        // Adjacent deliveries are returned as one slice.
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

    /// Returns the result.
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
