//! The headers of a record, whatever bytes their names are.
//!
//! Kafka's protocol says that header names are UTF-8, and no broker checks it. The rdkafka crate panics at a name that is
//! not: one such record would end every node that reads it. Here names are decoded lossily. It is the only unsafe code on
//! the way out.

use std::{borrow::Cow, ffi::CStr, ptr};

use rdkafka::{bindings, error::IsError as _, message::BorrowedMessage};

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The name; bytes that are not UTF-8 became U+FFFD.
    pub name: Cow<'a, str>,
    /// The value; `None` for null.
    pub value: Option<&'a [u8]>,
}

/// Returns the headers of a record, in order.
pub fn record_headers<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = RecordHeader<'a>> {
    let mut headers = ptr::null_mut();
    // SAFETY: `ptr` is the message that `BorrowedMessage` keeps alive for its own lifetime. The call writes one pointer to
    // headers that the message owns, or fails and writes none.
    let error = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    let headers = (!error.is_error() && !headers.is_null()).then_some(headers);
    (0..).map_while(move |index| {
        let headers = headers?;
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` belongs to the message, which `'a` keeps alive. The call writes three results, or fails (past
        // the last header) and writes none.
        let error = unsafe {
            bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size)
        };
        if error.is_error() || name.is_null() {
            return None;
        }
        // SAFETY: librdkafka ends names with a zero byte, and keeps them as long as the message.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        // SAFETY: a value that is not null is `size` bytes long, and is kept as long as the message.
        let value =
            (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) });
        Some(RecordHeader { name, value })
    })
}
