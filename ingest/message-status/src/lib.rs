//! Whether Kafka may have a record whose delivery failed.
//!
//! The error code alone is not enough: a record that timed out may never have left this process, or
//! a broker may have written it and the answer was lost; and a rejection may answer the second
//! attempt for a record whose first attempt was written. librdkafka tracks the status of each
//! message over all attempts (`rd_kafka_message_status`), but the rdkafka crate does not wrap that
//! call. It is the only unsafe code of ingest.

use rdkafka::{bindings, message::BorrowedMessage};

/// The status of a message in its delivery report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// The message was not written and will not be: it was never sent, or a broker rejected it.
    NotPersisted,
    /// The message was sent, and the answer is missing.
    PossiblyPersisted,
    /// The message is in Kafka.
    Persisted,
}

/// Returns the status of a message in its delivery report.
#[must_use]
pub fn message_status(message: &BorrowedMessage<'_>) -> MessageStatus {
    use bindings::rd_kafka_msg_status_t as Status;

    // SAFETY: `ptr` is the message that `BorrowedMessage` keeps alive for its own lifetime, which
    // covers the call. The call reads one field and keeps no reference.
    let status = unsafe { bindings::rd_kafka_message_status(message.ptr()) };
    match status {
        Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => MessageStatus::NotPersisted,
        Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => MessageStatus::PossiblyPersisted,
        Status::RD_KAFKA_MSG_STATUS_PERSISTED => MessageStatus::Persisted,
    }
}
