//! The place of a subscription in one partition, and what it delivers next: from the channel log,
//! from the partition's last values, or from a catch-up page if the log no longer has the record.
//!
//! No IO: a cursor that needs a page reports its offset and takes the page later. Time is an
//! argument.
//!
//! Invariants: `next` only grows. Every record of the channel before `next` was delivered, or
//! reported as skipped or lost, and no record at or after `next` was delivered. So changing from
//! one source to another neither repeats nor omits a record.

mod conflated;
mod gathered;
mod pace;
mod sources;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tailcast_proto::Offset;

pub(crate) use self::gathered::{ConflatedRange, FollowUp, GatherRequest, Gathered, LostRange, RecordTime};
use self::{conflated::ConflatedBacklog, pace::DeliveryPace};
use crate::{
    kafka::catch_up::PageError,
    log::{channel_log::ChannelLog, page::Page},
    node::hub::Lease,
    partition::Partition,
    record::{
        channel::{Encoding, NodeChannel},
        chunk::Newest,
    },
    wake::doorbell::Ringer,
};

/// The place of a subscription in one partition.
#[derive(Debug)]
pub(crate) struct Cursor {
    lease: Lease,
    log: Arc<ChannelLog>,
    ringer: Arc<Ringer>,
    mode: CursorMode,
    next: Offset,
    source: CursorSource,
    /// The end of the snapshot that the subscription started with; `None` once it was reached.
    snapshot_until: Option<Offset>,
    /// The partition's head when the snapshot began. Every record from here on is delivered or
    /// reported as lost.
    promised_from: Offset,
    /// The partition's head when the subscription started: earlier records are resumed, later ones
    /// live.
    live_from: Offset,
    /// The value of `next` in the last progress report.
    reported: Offset,
}

/// Which records are delivered when a subscription is behind, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum DeliveryMode {
    /// Every record.
    Lossless,
    /// The latest record of each key.
    Conflated {
        /// Minimum time between two deliveries of a key; `None` for no limit.
        interval: Option<Duration>,
    },
}

/// A delivery mode with its state.
#[derive(Debug)]
enum CursorMode {
    Lossless,
    Conflated {
        pace: Option<DeliveryPace>,
        /// Started before the partition's end and has not reached it yet.
        is_resuming: bool,
        /// State while the cursor is behind.
        backlog: Option<ConflatedBacklog>,
    },
}

/// Where a cursor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// At an offset.
    Offset(Offset),
    /// With the partition's last values.
    LastValues,
}

/// Source of the next record.
#[derive(Debug)]
enum CursorSource {
    /// The partition's last values.
    LastValues,
    /// The channel log, as far as it has the record.
    Log,
    /// A page was requested from catch-up.
    PendingPage,
    /// A page that was read from Kafka. Weak, because only the page cache keeps pages, within its
    /// limit, and not a client that does not read. A page that was dropped is requested again.
    Page(Weak<Page>),
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
            StartAt::Offset(offset) => (offset, CursorSource::Log, None),
            StartAt::LastValues => (Offset::ZERO, CursorSource::LastValues, Some(head)),
        };
        // After the last values the cursor reads the log from the head on.
        let attach_at = if snapshot_until.is_some() { head } else { next };
        let log = lease.partition.attach(channel, encoding, attach_at, &ringer);
        let mode = match mode {
            DeliveryMode::Lossless => CursorMode::Lossless,
            DeliveryMode::Conflated { interval } => {
                // A resumed subscription gets the latest records of the past, even if the past is
                // short.
                let is_resuming = snapshot_until.is_none() && next < head;
                CursorMode::Conflated { pace: interval.map(DeliveryPace::new), is_resuming, backlog: None }
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

    /// Returns the offset that the requested page must contain.
    pub(crate) fn page_offset(&self) -> Offset {
        match &self.mode {
            CursorMode::Conflated { backlog: Some(backlog), .. } => {
                backlog.mapping_offset().unwrap_or(self.next)
            }
            CursorMode::Conflated { backlog: None, .. } | CursorMode::Lossless => self.next,
        }
    }

    /// Whether the cursor reads from another source than the log.
    pub(crate) fn is_catching_up(&self) -> bool {
        !matches!(self.source, CursorSource::Log)
    }

    /// Whether a page was requested or is being read.
    pub(crate) fn is_paging(&self) -> bool {
        matches!(self.source, CursorSource::PendingPage | CursorSource::Page(_))
    }

    /// Returns true once after the cursor has passed the end of its snapshot.
    pub(crate) fn take_snapshot_end(&mut self) -> bool {
        self.snapshot_until.take_if(|until| self.next >= *until).is_some()
    }

    /// Returns the timestamp of the newest of some deliveries.
    fn record_time(&self, newest: Option<Newest>) -> Option<RecordTime> {
        newest.map(|Newest { offset, timestamp_ms }| {
            if offset < self.live_from {
                RecordTime::Resumed(timestamp_ms)
            } else {
                RecordTime::Live(timestamp_ms)
            }
        })
    }

    /// Whether the delivery mode is lossless.
    pub(crate) fn is_lossless(&self) -> bool {
        matches!(self.mode, CursorMode::Lossless)
    }

    /// Whether the cursor has not passed the end of its snapshot.
    pub(crate) fn is_in_snapshot(&self) -> bool {
        self.snapshot_until.is_some()
    }

    /// Appends the next deliveries to `out`.
    pub(crate) fn gather(&mut self, request: GatherRequest, out: &mut Vec<Bytes>) -> Gathered {
        match &self.source {
            CursorSource::PendingPage => Gathered::default(),
            CursorSource::LastValues => self.gather_last_values(request.budget, out),
            CursorSource::Page(page) => match page.upgrade() {
                Some(page) => self.gather_from_page(&page, request.budget, out),
                None => self.ask(),
            },
            CursorSource::Log => match self.mode {
                CursorMode::Lossless => self.gather_from_log(request.budget, out),
                CursorMode::Conflated { .. } => self.gather_conflated(request, out),
            },
        }
    }

    /// Takes the requested page, or the reason why there is none. Returns the range that is lost,
    /// if any.
    ///
    /// # Errors
    ///
    /// If the partition is gone, which ends the subscription.
    pub(crate) fn take_page(
        &mut self,
        page: Result<&Arc<Page>, PageError>,
    ) -> Result<Option<LostRange>, PageError> {
        self.source = CursorSource::Log;
        match page {
            Ok(page) => self.source = CursorSource::Page(Arc::downgrade(page)),
            Err(PageError::Expired { low }) if low <= self.next => self.skip_expired(low),
            Err(PageError::Expired { low }) => {
                let lost = LostRange { first: self.next, next: low };
                self.next = low;
                self.skip_expired(low);
                // For records before the snapshot began, only the latest values were promised.
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

    /// Returns `next` if it has moved since the last call; `None` otherwise, and while the cursor
    /// is catching up.
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
