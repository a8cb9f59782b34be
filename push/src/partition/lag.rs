//! How far this node is behind Kafka in a partition.

use std::sync::atomic::Ordering;

use tailcast_proto::Offset;

use super::Partition;

/// How far this node is behind Kafka in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Lag {
    /// Maximum age of the records not read yet, in milliseconds; 0 if all were read.
    pub(crate) ms: u64,
    /// Number of records not read yet.
    pub(crate) records: u64,
}

impl Partition {
    /// Sets Kafka's end of the partition at the last fetch. `now_ms` is in milliseconds since the
    /// Unix epoch.
    pub(crate) fn set_high_watermark(&self, offset: Offset, now_ms: i64) {
        self.high_watermark.store(offset.get(), Ordering::Relaxed);
        let since = self.behind_since_ms.load(Ordering::Relaxed);
        if offset <= self.head() {
            self.behind_since_ms.store(-1, Ordering::Relaxed);
        } else if since < 0 {
            self.behind_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Returns the lag. `now_ms` is in milliseconds since the Unix epoch.
    pub(crate) fn lag(&self, now_ms: i64) -> Lag {
        let end = Offset::new(self.high_watermark.load(Ordering::Relaxed)).unwrap_or(Offset::ZERO);
        let records = end.since(self.head());
        // A record not read yet is younger than the last record read, and than the last moment at
        // which all were read. The first bound is the tighter one in a busy partition, the second
        // in a quiet one.
        let (last, behind_since) =
            (self.last_timestamp_ms.load(Ordering::Relaxed), self.behind_since_ms.load(Ordering::Relaxed));
        let since = last.max(behind_since);
        if records == 0 || behind_since < 0 {
            return Lag { ms: 0, records };
        }
        Lag { ms: u64::try_from(now_ms - since).unwrap_or(0), records }
    }
}
