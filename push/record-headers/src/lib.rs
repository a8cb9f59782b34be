//! The headers of a record, including those whose names are not UTF-8.
//!
//! Kafka's protocol requires header names to be UTF-8, but no broker checks it. The rdkafka crate
//! panics on other names, so one such record would crash every node that reads it. This crate
//! decodes names lossily. It contains the only unsafe code of push.

use std::{borrow::Cow, ffi::CStr, ptr};

use rdkafka::{bindings, error::IsError as _, message::BorrowedMessage};

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The name. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub name: Cow<'a, str>,
    /// The value; `None` for null.
    pub value: Option<&'a [u8]>,
}

/// Returns the headers of a record, in order.
pub fn record_headers<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = RecordHeader<'a>> {
    let mut headers = ptr::null_mut();
    // SAFETY: `ptr` is the message that `BorrowedMessage` keeps alive for its own lifetime. The
    // call writes one pointer to headers that the message owns, or fails and writes none.
    let error = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    let headers = (!error.is_error() && !headers.is_null()).then_some(headers);
    (0..).map_while(move |index| {
        let headers = headers?;
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` belongs to the message, which `'a` keeps alive. The call writes three
        // results, or fails (past the last header) and writes none.
        let error = unsafe {
            bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size)
        };
        if error.is_error() || name.is_null() {
            return None;
        }
        // SAFETY: librdkafka ends names with a zero byte, and keeps them as long as the message.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        // SAFETY: a value that is not null is `size` bytes long, and is kept as long as the
        // message.
        let value =
            (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) });
        Some(RecordHeader { name, value })
    })
}
