//! Where a subscription is in one partition, and what it takes next: from the channel log, from the last values that the
//! partition keeps, or from a page of Kafka when the log no longer has it.
//!
//! No IO: a cursor that needs a page says so, and is given it later. Time is an argument.
//!
//! Invariants: `next` only grows. Everything of the channel before `next` was handed out, or was said to be skipped or
//! lost, and nothing at or after `next` was handed out yet. So handing over from one source to another can neither repeat
//! nor leave out.

mod conflated;
mod pace;
mod sources;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tailcast_proto::Offset;

use self::{conflated::Backlog, pace::Pace};
use crate::{
    kafka::catch_up::PageError,
    log::{channel_log::ChannelLog, page::Page},
    node::hub::Lease,
    partition::Partition,
    record::chunk::{Encoding, Newest, NodeChannel},
    wake::doorbell::Ringer,
};

/// Where a subscription is in one partition.
#[derive(Debug)]
pub(crate) struct Cursor {
    lease: Lease,
    log: Arc<ChannelLog>,
    ringer: Arc<Ringer>,
    mode: CursorMode,
    next: Offset,
    source: Source,
    /// Where the snapshot ends with which the subscription started, until it is there.
    snapshot_until: Option<Offset>,
    /// Where the partition was when a snapshot began: every record from here on is delivered or said to be lost.
    promised_from: Offset,
    /// Where the partition was when the subscription started: what is before is resumed, what follows is live.
    live_from: Offset,
    /// The `next` that the client was last told without a delivery.
    reported: Offset,
}

/// What is delivered when a subscription is behind, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum DeliveryMode {
    /// Every record.
    Lossless,
    /// The latest record of each key.
    Conflated {
        /// The shortest time between two deliveries of a key; `None` for no limit.
        interval: Option<Duration>,
    },
}

/// A mode with what it has to remember.
#[derive(Debug)]
enum CursorMode {
    Lossless,
    Conflated {
        pace: Option<Pace>,
        /// It has not come to the end since it started before it.
        is_resuming: bool,
        /// What is known of what waits, while the cursor is behind.
        backlog: Option<Backlog>,
    },
}

/// Where a cursor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// At an offset.
    Offset(Offset),
    /// With the last values that the partition keeps.
    LastValues,
}

/// Where the next record comes from.
#[derive(Debug)]
enum Source {
    /// The last values that the partition keeps.
    LastValues,
    /// The channel log, if it still has it.
    Log,
    /// Kafka: a page was asked for.
    PendingPage,
    /// A page that was read from Kafka. Weak: pages are kept by the shelf, within its bound, and not by a client that does
    /// not read. One that is gone by then is asked for again.
    Page(Weak<Page>),
}

/// What a cursor is asked to hand out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatherRequest {
    /// How many bytes, but at least one delivery if there is one.
    pub(crate) budget: usize,
    /// Whether the client has not kept up with what it was sent before.
    pub(crate) is_behind: bool,
    pub(crate) now: Instant,
}

/// What a cursor handed out.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) deliveries: u64,
    /// When the newest delivery was written; `None` without a delivery, and for last values.
    pub(crate) age: Option<Age>,
    pub(crate) conflated: Option<ConflatedRange>,
    pub(crate) follow_up: FollowUp,
}

/// When a record was written, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// After the subscription started: how long ago is its latency.
    Live(i64),
    /// Before the subscription started, which says nothing about latency.
    Resumed(i64),
}

/// What a cursor needs after it was gathered from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FollowUp {
    /// Nothing: its ringer says when there is more.
    #[default]
    Idle,
    /// To be gathered from again: there is more than fitted.
    More,
    /// To be gathered from again at this time.
    At(Instant),
    /// A page that has this offset.
    Page(Offset),
}

/// Offsets that a cursor was asked for and that Kafka no longer has: `first` ≤ offset < `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostRange {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
}

/// Records in `first` ≤ offset < `next` that were left out for newer ones of their keys; the others were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConflatedRange {
    pub(crate) first: Offset,
    pub(crate) next: Offset,
    pub(crate) records: u64,
}

impl Cursor {
    /// Starts in a leased partition.
    pub(crate) fn new(
        lease: Lease,
        channel: &Arc<NodeChannel>,
        encoding: Encoding,
        (from, mode): (StartAt, DeliveryMode),
        ringer: Arc<Ringer>,
    ) -> Self {
        let head = lease.partition.head();
        let (next, source, snapshot_until) = match from {
            StartAt::Offset(offset) => (offset, Source::Log, None),
            StartAt::LastValues => (Offset::ZERO, Source::LastValues, Some(head)),
        };
        // What the log has now is read by who reads on from the last values: it joins where it is.
        let attach_at = if snapshot_until.is_some() { head } else { next };
        let log = lease.partition.attach(channel, encoding, attach_at, &ringer);
        let mode = match mode {
            DeliveryMode::Lossless => CursorMode::Lossless,
            DeliveryMode::Conflated { interval } => {
                // What was missed is not history to be told, however little it is.
                let is_resuming = snapshot_until.is_none() && next < head;
                CursorMode::Conflated { pace: interval.map(Pace::new), is_resuming, backlog: None }
            }
        };
        Self {
            lease,
            log,
            ringer,
            mode,
            next,
            source,
            snapshot_until,
            promised_from: attach_at,
            live_from: head,
            reported: next,
        }
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

    /// The offset that the page has to have that is asked for.
    pub(crate) fn page_offset(&self) -> Offset {
        match &self.mode {
            CursorMode::Conflated { backlog: Some(backlog), .. } => {
                backlog.mapping_offset().unwrap_or(self.next)
            }
            CursorMode::Conflated { backlog: None, .. } | CursorMode::Lossless => self.next,
        }
    }

    /// Whether the cursor reads from elsewhere, because the log does not have what is next.
    pub(crate) fn is_catching_up(&self) -> bool {
        !matches!(self.source, Source::Log)
    }

    /// Whether a page was asked for, or is being read.
    pub(crate) fn is_paging(&self) -> bool {
        matches!(self.source, Source::PendingPage | Source::Page(_))
    }

    /// Returns whether the cursor has passed the end of its snapshot; true once.
    pub(crate) fn take_snapshot_end(&mut self) -> bool {
        self.snapshot_until.take_if(|until| self.next >= *until).is_some()
    }

    /// Returns when the newest of some deliveries was written.
    fn age(&self, newest: Option<Newest>) -> Option<Age> {
        newest.map(
            |Newest { offset, timestamp_ms }| {
                if offset < self.live_from { Age::Resumed(timestamp_ms) } else { Age::Live(timestamp_ms) }
            },
        )
    }

    /// Whether every record is delivered.
    pub(crate) fn is_lossless(&self) -> bool {
        matches!(self.mode, CursorMode::Lossless)
    }

    /// Whether the cursor has not passed the end of its snapshot yet.
    pub(crate) fn is_in_snapshot(&self) -> bool {
        self.snapshot_until.is_some()
    }

    /// Hands out what is next, appended to `out`.
    pub(crate) fn gather(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        match &self.source {
            Source::PendingPage => Gathered::default(),
            Source::LastValues => self.gather_last_values(request.budget, out),
            Source::Page(page) => match page.upgrade() {
                Some(page) => self.gather_from_page(&page, request.budget, out),
                None => self.ask(),
            },
            Source::Log => match self.mode {
                CursorMode::Lossless => self.gather_from_log(request.budget, out),
                CursorMode::Conflated { .. } => self.gather_conflated(request, out),
            },
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
    ) -> Result<Option<LostRange>, PageError> {
        self.source = Source::Log;
        match page {
            Ok(page) => self.source = Source::Page(Arc::downgrade(page)),
            Err(PageError::Expired { low }) if low <= self.next => self.forget_before(low),
            Err(PageError::Expired { low }) => {
                let lost = LostRange { first: self.next, next: low };
                self.next = low;
                self.forget_before(low);
                // Of what was there when a snapshot began nothing was promised but the latest values.
                self.promised_from = self.promised_from.max(lost.first);
                let lost = LostRange { first: self.promised_from, ..lost };
                return Ok((lost.first < lost.next).then_some(lost));
            }
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
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.lease.partition.detach(&self.log, &self.ringer);
    }
}

#[cfg(test)]
mod tests;
