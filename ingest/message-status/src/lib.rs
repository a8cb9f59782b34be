//! Whether Kafka may have a record whose delivery failed.
//!
//! An error code alone does not tell: a record that "timed out" may never have left this process, or may have been
//! written by a broker whose answer was lost; and a refusal can answer the second attempt of a record whose first attempt
//! was written. librdkafka keeps count, per message, over all its attempts (`rd_kafka_message_status`), and the rdkafka
//! crate does not wrap the call. It is the only unsafe code on the way in.

use rdkafka::{bindings, message::BorrowedMessage};

/// What librdkafka knows of a message that it reports on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// No attempt was written, or can be: the message was never sent, or a broker refused it.
    NotPersisted,
    /// An attempt was sent and its answer is missing.
    PossiblyPersisted,
    /// Kafka has it.
    Persisted,
}

/// Returns the status of a message in its delivery report.
#[must_use]
pub fn message_status(message: &BorrowedMessage<'_>) -> MessageStatus {
    use bindings::rd_kafka_msg_status_t as Status;

    // SAFETY: `ptr` is the message that `BorrowedMessage` keeps alive for its own lifetime, which covers the call. The
    // call reads one field and keeps no reference.
    let status = unsafe { bindings::rd_kafka_message_status(message.ptr()) };
    match status {
        Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => MessageStatus::NotPersisted,
        Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => MessageStatus::PossiblyPersisted,
        Status::RD_KAFKA_MSG_STATUS_PERSISTED => MessageStatus::Persisted,
    }
}
