//! Where a subscription is in one partition, and what it takes next: from the channel log, or from a page of Kafka when
//! the log no longer has it.
//!
//! No IO: a cursor that needs a page says so, and is given it later.
//!
//! Invariants: `next` only grows. Everything of the channel before `next` was handed out or said to be lost, and nothing
//! at or after `next` was handed out yet. So handing over from pages to the log can neither repeat nor leave out.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tailcast_proto::Offset;

use crate::{
    catch_up::{Page, PageError},
    channel_log::{ChannelLog, Encoding, NodeChannel, Read},
    doorbell::Ringer,
    hub::Lease,
    partition::Partition,
};

/// Where a subscription is in one partition.
#[derive(Debug)]
pub(crate) struct Cursor {
    lease: Lease,
    log: Arc<ChannelLog>,
    ringer: Arc<Ringer>,
    next: Offset,
    source: Source,
    /// The `next` that the client was last told without a delivery.
    reported: Offset,
}

/// Where the next record comes from.
#[derive(Debug)]
enum Source {
    /// The channel log, if it still has it.
    Log,
    /// Kafka: a page was asked for.
    Awaited,
    /// A page that was read from Kafka. Weak: pages are kept by the shelf, within its bound, and not by a client that does
    /// not read. One that is gone by then is asked for again.
    Page(Weak<Page>),
}

/// What a cursor handed out.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) deliveries: u64,
    /// The timestamp of the newest delivery, when it came from the log: what is caught up says nothing about latency.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) then: Then,
}

/// What a cursor needs after it was gathered from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: its ringer says when there is more.
    #[default]
    Rest,
    /// To be gathered from again: there is more than fitted.
    More,
    /// A page that has this offset.
    Page(Offset),
}

/// Offsets that a cursor was asked for and that Kafka no longer has: `first` ≤ offset < `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

impl Cursor {
    /// Starts at `next` of a leased partition.
    pub(crate) fn new(
        lease: Lease,
        channel: &Arc<NodeChannel>,
        encoding: Encoding,
        next: Offset,
        ringer: Arc<Ringer>,
    ) -> Self {
        let log = lease.partition.attach(channel, encoding, next, &ringer);
        Self { lease, log, ringer, next, source: Source::Log, reported: next }
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.lease.partition
    }

    pub(crate) fn ringer(&self) -> &Arc<Ringer> {
        &self.ringer
    }

    /// The next offset to deliver.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    /// Whether the cursor reads from Kafka, because the log no longer has what is next.
    pub(crate) fn is_catching_up(&self) -> bool {
        !matches!(self.source, Source::Log)
    }

    /// Hands out what is next, up to `budget` bytes but at least one delivery if there is one, appended to `out`.
    pub(crate) fn gather(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        match &self.source {
            Source::Awaited => Gathered::default(),
            Source::Page(page) => match page.upgrade() {
                Some(page) => self.gather_from_page(&page, budget, out),
                None => self.ask(),
            },
            Source::Log => self.gather_from_log(budget, out),
        }
    }

    /// Takes the page that was asked for, or the reason for which there is none. Returns what is lost, if anything is.
    ///
    /// # Errors
    ///
    /// When the partition is gone: the subscription ends.
    pub(crate) fn take_page(
        &mut self,
        page: Result<&Arc<Page>, PageError>,
    ) -> Result<Option<Lost>, PageError> {
        self.source = Source::Log;
        match page {
            Ok(page) => self.source = Source::Page(Arc::downgrade(page)),
            Err(PageError::Expired { low }) if low > self.next => {
                let lost = Lost { first: self.next, next: low };
                self.next = low;
                return Ok(Some(lost));
            }
            // The page was asked for again: what was below the answer is not any more.
            Err(PageError::Expired { .. }) => {}
            Err(gone @ (PageError::Truncated | PageError::Closed | PageError::Recreated)) => {
                return Err(gone);
            }
        }
        Ok(None)
    }

    /// Returns up to where everything was handed out, if that moved since it was last asked for; `None` also while the
    /// cursor is behind.
    pub(crate) fn progress(&mut self) -> Option<Offset> {
        if self.is_catching_up() || self.next == self.reported {
            return None;
        }
        self.reported = self.next;
        Some(self.next)
    }

    fn gather_from_log(&mut self, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        loop {
            // Before the log is read: what is appended in between is in the log, but not counted as seen.
            let head = self.lease.partition.head();
            match self.log.chunks(|chunks| chunks.read(self.next, budget, out)) {
                Read::Deliveries { deliveries, next, more, timestamp_ms } => {
                    // A quiet channel moves on with its partition.
                    self.next = if more { next } else { next.max(head) };
                    let then = if more { Then::More } else { Then::Rest };
                    return Gathered { deliveries, timestamp_ms, then };
                }
                Read::Behind if self.next >= self.lease.partition.tail() => {
                    self.lease.partition.extend_back(&self.log, self.next);
                }
                Read::Behind => return self.ask(),
            }
        }
    }

    fn ask(&mut self) -> Gathered {
        self.source = Source::Awaited;
        Gathered { then: Then::Page(self.next), ..Gathered::default() }
    }

    fn gather_from_page(&mut self, page: &Page, budget: usize, out: &mut Vec<Bytes>) -> Gathered {
        let channel = (&*self.log.channel, self.log.encoding, self.lease.partition.id);
        let read = page.read(self.next, budget, channel, out);
        self.next = self.next.max(read.next);
        if !read.more {
            self.source = Source::Log;
        }
        // The log may have the rest, or another page is needed: both are found out at the next call.
        Gathered { deliveries: read.deliveries, timestamp_ms: None, then: Then::More }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.lease.partition.detach(&self.log, &self.ringer);
    }
}

#[cfg(test)]
mod tests;
