//! Where trace context comes from, and where it goes.
//!
//! The methods are those of OpenTelemetry's `Extractor` and `Injector`.

use bytes::Bytes;
use tonic::metadata::MetadataMap;

use crate::validation::Record;

/// The metadata of a gRPC call, to extract from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallMetadata<'a>(pub(crate) &'a MetadataMap);

/// The headers of a record, to inject into.
#[derive(Debug)]
pub(crate) struct RecordHeaders<'a> {
    record: &'a mut Record,
    message_bytes_max: usize,
}

impl<'a> CallMetadata<'a> {
    /// Returns the value of an entry.
    pub(super) fn get(self, name: &str) -> Option<&'a [u8]> {
        self.0.get(name).map(|value| value.as_bytes())
    }
}

impl<'a> RecordHeaders<'a> {
    /// The headers of this record, which must not make the message exceed `message_bytes_max`.
    pub(crate) fn new(record: &'a mut Record, message_bytes_max: usize) -> Self {
        Self { record, message_bytes_max }
    }

    /// Returns whether the record has a header of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.record.has_header(name)
    }

    /// Adds a header if it fits, and returns whether it does.
    pub(super) fn set(&mut self, name: &str, value: Bytes) -> bool {
        let bytes = self.record.bytes + name.len() + value.len();
        let fits = bytes <= self.message_bytes_max;
        if fits {
            self.record.headers.push((name.to_owned(), Some(value)));
            self.record.bytes = bytes;
        }
        fits
    }
}
