//! Where a cursor takes from: the channel log, the last values of its partition, and the pages of catch-up.

use bytes::Bytes;

use super::{ConflatedRange, Cursor, CursorMode, FollowUp, Gathered, Source};
use crate::log::{channel_log::LogRead, page::Page};

impl Cursor {
    /// How many last values are looked at in one turn, under their lock.
    const LAST_VALUES_STEPS_MAX: usize = 4_096;

    pub(super) fn gather_from_log(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        loop {
            // Before the log is read: what is appended in between is in the log, but not counted as seen.
            let head = self.lease.partition.head();
            match self.log.chunks(|chunks| chunks.read(self.next, budget, out)) {
                LogRead::Deliveries { deliveries, next, more, newest } => {
                    // A quiet channel moves on with its partition.
                    self.next = if more { next } else { next.max(head) };
                    let follow_up = if more { FollowUp::More } else { FollowUp::Idle };
                    return Gathered { deliveries, age: self.age(newest), follow_up, conflated: None };
                }
                LogRead::Behind if self.next >= self.lease.partition.tail() => {
                    self.lease.partition.extend_back(&self.log, self.next);
                }
                LogRead::Behind => return self.ask(),
            }
        }
    }

    pub(super) fn ask(&mut self) -> Gathered {
        self.source = Source::PendingPage;
        Gathered { follow_up: FollowUp::Page(self.page_offset()), ..Gathered::default() }
    }

    pub(super) fn gather_from_page(&mut self, page: &Page, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        if self.map_page(page) {
            self.source = Source::Log;
            return Gathered { follow_up: FollowUp::More, ..Gathered::default() };
        }
        let from = self.next;
        let channel = (&*self.log.channel, self.log.encoding, self.lease.partition.id);
        let read = match &self.mode {
            CursorMode::Conflated { backlog: Some(backlog), .. } => {
                page.read((from, backlog.at()), budget, channel, Some(&backlog.offset_map()), out)
            }
            CursorMode::Conflated { backlog: None, .. } | CursorMode::Lossless => {
                page.read((from, page.to), budget, channel, None, out)
            }
        };
        self.next = self.next.max(read.next);
        if !read.more {
            self.source = Source::Log;
        }
        let conflated = ConflatedRange { first: from, next: self.next, records: read.skipped };
        Gathered {
            deliveries: read.deliveries,
            age: self.age(read.newest),
            conflated: (read.skipped > 0).then_some(conflated),
            // The log may have the rest, or another page is needed: both are found out at the next call.
            follow_up: FollowUp::More,
        }
    }

    pub(super) fn gather_last_values(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        let partition = &self.lease.partition;
        let channel = (&*self.log.channel, self.log.encoding, partition.id);
        // Up to where the partition was at the start: what moved past it since, and what was deleted, is in the log.
        let range = (self.next, self.snapshot_until.unwrap_or(self.next));
        let read = partition
            .last_values()
            .and_then(|kept| kept.read(range, budget, Self::LAST_VALUES_STEPS_MAX, channel, out));
        // Dropped, because they became too large: Kafka has what they were made of.
        let Some(read) = read else {
            self.source = Source::Log;
            return Gathered { follow_up: FollowUp::More, ..Gathered::default() };
        };
        self.next = self.next.max(read.next);
        if !read.more {
            self.source = Source::Log;
            // A key that was updated meanwhile has moved past the end: what is in the log by then is part of the snapshot.
            self.snapshot_until = Some(self.lease.partition.head());
        }
        Gathered { deliveries: read.deliveries, follow_up: FollowUp::More, ..Gathered::default() }
    }
}
