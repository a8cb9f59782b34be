//! Finding the offset for a time.
//!
//! Kafka has a time index. With brokers that have none, the partition is scanned.

use std::sync::Arc;

use tailcast_proto::Offset;

use super::{Hub, Lease};
use crate::kafka::{
    catch_up::{CatchUp, PageError},
    offsets::OffsetsError,
};

/// Why the offset for a time could not be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TimeLookupError {
    /// Kafka did not return an offset.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The partition could not be read.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl Hub {
    /// Returns the first offset of a leased partition whose record is not older than a time, in
    /// milliseconds since the Unix epoch; `None` if there is none. Cancel safe.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer, or the partition cannot be read.
    pub(crate) async fn at_time(
        &self,
        lease: &Lease,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, TimeLookupError> {
        match &self.time_scan {
            None => {
                let (topic, id) = (&lease.partition.topic, lease.partition.id);
                Ok(self.offsets.at_time(topic, id, timestamp_ms).await?)
            }
            Some(catch_up) => self.scan_for_time(catch_up, lease, timestamp_ms).await,
        }
    }

    /// Scans a partition for the first record that is not older than a time.
    async fn scan_for_time(
        &self,
        catch_up: &CatchUp,
        lease: &Lease,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, TimeLookupError> {
        let mut at = self.watermarks(lease, true).await?.low;
        while at < lease.partition.head() {
            let page = catch_up.page(Arc::clone(&lease.partition), at).await?;
            let is_found = |offset, record_ms| offset >= at && record_ms >= timestamp_ms;
            let found = page.records().find(|record| is_found(record.offset, record.timestamp_ms));
            if let Some(record) = found {
                return Ok(Some(record.offset));
            }
            at = page.to;
        }
        Ok(None)
    }
}
