//! The sources of a cursor: the channel log, the partition's last values, and catch-up pages.

use bytes::Bytes;

use super::{ConflatedRange, Cursor, CursorMode, CursorSource, FollowUp, Gathered};
use crate::log::{channel_log::LogRead, page::Page};

impl Cursor {
    /// Maximum number of last values examined under their lock in one call.
    const LAST_VALUES_STEPS_MAX: usize = 4_096;

    pub(super) fn gather_from_log(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        loop {
            // Loaded before the log is read. Records appended in between are in the log, but `next`
            // does not pass them.
            let head = self.lease.partition.head();
            match self.log.chunks(|chunks| chunks.read(self.next, budget, out)) {
                LogRead::Deliveries { deliveries, next, more, newest } => {
                    // A quiet channel advances with its partition.
                    self.next = if more { next } else { next.max(head) };
                    let follow_up = if more { FollowUp::More } else { FollowUp::Idle };
                    return Gathered {
                        deliveries,
                        newest: self.record_time(newest),
                        follow_up,
                        conflated: None,
                    };
                }
                LogRead::Behind if self.next >= self.lease.partition.tail() => {
                    self.lease.partition.extend_back(&self.log, self.next);
                }
                LogRead::Behind => return self.ask(),
            }
        }
    }

    pub(super) fn ask(&mut self) -> Gathered {
        self.source = CursorSource::PendingPage;
        Gathered { follow_up: FollowUp::Page(self.page_offset()), ..Gathered::default() }
    }

    pub(super) fn gather_from_page(&mut self, page: &Page, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        if self.map_page(page) {
            self.source = CursorSource::Log;
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
            self.source = CursorSource::Log;
        }
        let conflated = ConflatedRange { first: from, next: self.next, records: read.skipped };
        Gathered {
            deliveries: read.deliveries,
            newest: self.record_time(read.newest),
            conflated: (read.skipped > 0).then_some(conflated),
            // The next call finds out whether the log has the rest or another page is needed.
            follow_up: FollowUp::More,
        }
    }

    pub(super) fn gather_last_values(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        let partition = &self.lease.partition;
        let channel = (&*self.log.channel, self.log.encoding, partition.id);
        // Up to the head at the start. Values that have moved past it since, and deletions, are in
        // the log.
        let range = (self.next, self.snapshot_until.unwrap_or(self.next));
        let read = partition
            .last_values()
            .and_then(|kept| kept.read(range, budget, Self::LAST_VALUES_STEPS_MAX, channel, out));
        // The values were dropped because the topic is too large. Kafka has their records.
        let Some(read) = read else {
            self.source = CursorSource::Log;
            return Gathered { follow_up: FollowUp::More, ..Gathered::default() };
        };
        self.next = self.next.max(read.next);
        if !read.more {
            self.source = CursorSource::Log;
            // Keys that were updated meanwhile have moved past the end, so the snapshot includes
            // the log up to now.
            self.snapshot_until = Some(self.lease.partition.head());
        }
        Gathered { deliveries: read.deliveries, follow_up: FollowUp::More, ..Gathered::default() }
    }
}
