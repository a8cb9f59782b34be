//! Queries the ids of topics with librdkafka's `DescribeTopics`, which rdkafka does not wrap.
//!
//! A topic that is deleted and created again keeps its name and gets another id, which is the only
//! difference. This is the one crate of the workspace that calls C, and it does nothing else.
//!
//! Invariant: every object that librdkafka returns for us to destroy is put into an `Owned` at
//! once, so that it is destroyed on every path. Borrowed pointers do not leave the block that
//! obtained them.

mod owned;

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use owned::Owned;

/// The id of one incarnation of a topic, in the form of librdkafka and Java: a UUID in two halves.
/// All zero if the brokers are too old for topic ids (before Kafka 2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId {
    /// The most significant 64 bits.
    pub most: i64,
    /// The least significant 64 bits.
    pub least: i64,
}

/// A topic that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its id.
    pub id: TopicId,
    /// The number of partitions.
    pub partitions: u32,
}

/// Kafka's answer for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAnswer {
    /// Its name.
    pub topic: String,
    /// Its description, or the error.
    pub description: Result<TopicDescription, TopicError>,
}

/// Kafka's error for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct TopicError {
    /// Kafka's error code.
    pub code: RDKafkaErrorCode,
}

/// Why the request failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// No broker answered in time, or the request failed as a whole.
    #[error("Kafka did not describe the topics: {code}: {reason}")]
    Kafka {
        /// Kafka's or librdkafka's error code.
        code: RDKafkaErrorCode,
        /// librdkafka's message.
        reason: String,
    },
    /// A name has a zero byte, which no topic name has.
    #[error("{name:?} is not a topic name")]
    Name {
        /// The name found.
        name: String,
    },
}

impl TopicError {
    /// Whether the topic does not exist.
    pub fn is_unknown(&self) -> bool {
        matches!(self.code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
    }
}

impl DescribeError {
    /// The error code.
    pub fn code(&self) -> RDKafkaErrorCode {
        match self {
            Self::Kafka { code, .. } => *code,
            Self::Name { .. } => RDKafkaErrorCode::InvalidTopic,
        }
    }
}

/// Describes topics, all in one request, and blocks until Kafka answers or `timeout` has passed.
///
/// The answers are in Kafka's order. Names must not repeat. Takes 1 to 4 ms with a nearby Kafka.
/// The mock cluster does not support this request, so it times out there.
///
/// # Errors
/// See [`DescribeError`]. The error of a single topic is in its own answer.
pub fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<TopicAnswer>, DescribeError> {
    let names = topics
        .iter()
        .map(|&name| CString::new(name).map_err(|_| DescribeError::Name { name: name.to_owned() }))
        .collect::<Result<Vec<_>, _>>()?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let event = request(client, &names, timeout_ms)?;
    // SAFETY: the event lives until `event` is dropped, at the end of this function.
    let code = unsafe { sys::rd_kafka_event_error(event.ptr()) };
    if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: as above; librdkafka returns a string that lives as long as the event, or null.
        let reason = unsafe { text(sys::rd_kafka_event_error_string(event.ptr())) };
        return Err(DescribeError::Kafka { code: code.into(), reason });
    }
    Ok(descriptions(&event))
}

/// Sends the request and waits for its event.
fn request<C: ClientContext>(
    client: &Client<C>,
    names: &[CString],
    timeout_ms: i32,
) -> Result<Owned<sys::rd_kafka_event_t>, DescribeError> {
    let failed =
        |reason: &str| DescribeError::Kafka { code: RDKafkaErrorCode::Fail, reason: reason.to_owned() };
    let rk = client.native_ptr();
    // SAFETY: `rk` is a live client for as long as `client` is borrowed. The queue is new and ours
    // to destroy.
    let queue = unsafe { Owned::new(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy) }
        .ok_or_else(|| failed("no queue"))?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `rk` as above. The options are new and ours to destroy.
    let options = unsafe {
        Owned::new(sys::rd_kafka_AdminOptions_new(rk, operation), sys::rd_kafka_AdminOptions_destroy)
    }
    .ok_or_else(|| failed("no options"))?;
    let mut why = [0 as c_char; 256];
    // SAFETY: the options are live, and `why` is a buffer of the length that is given.
    let refused = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), timeout_ms, why.as_mut_ptr(), why.len())
    };
    if refused != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: librdkafka has written a string that ends with a zero byte within the buffer.
        return Err(failed(&unsafe { text(why.as_ptr()) }));
    }
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the pointers are to strings that outlive the call, which copies them. The collection
    // is ours to destroy.
    let topics = unsafe {
        Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
        )
    }
    .ok_or_else(|| failed("no collection"))?;
    // SAFETY: all four live until this function returns. librdkafka copies topics and options, and
    // holds a reference of its own to the queue until it has put the event there.
    unsafe { sys::rd_kafka_DescribeTopics(rk, topics.ptr(), options.ptr(), queue.ptr()) };
    // librdkafka answers at `timeout_ms` at the latest; a second more is for its thread to be
    // scheduled.
    let patience_ms = timeout_ms.saturating_add(1_000);
    // SAFETY: the queue is live, and nobody else polls it. The event is ours to destroy.
    unsafe { Owned::new(sys::rd_kafka_queue_poll(queue.ptr(), patience_ms), sys::rd_kafka_event_destroy) }
        .ok_or_else(|| DescribeError::Kafka {
            code: RDKafkaErrorCode::OperationTimedOut,
            reason: "librdkafka did not answer".to_owned(),
        })
}

/// Copies the answers out of the event.
fn descriptions(event: &Owned<sys::rd_kafka_event_t>) -> Vec<TopicAnswer> {
    // SAFETY: the event is live; null is returned if it is of another kind.
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.ptr()) };
    if result.is_null() {
        return Vec::new();
    }
    let mut count = 0;
    // SAFETY: the result is a part of the live event.
    let topics = unsafe { sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    (0..count)
        .map(|index| {
            // SAFETY: librdkafka returned an array of `count` pointers, which is a part of the live
            // event.
            let topic = unsafe { *topics.add(index) };
            // SAFETY: the description is a part of the live event.
            unsafe { answer(topic) }
        })
        .collect()
}

/// Copies one answer.
///
/// # Safety
/// `description` has to live during the call.
unsafe fn answer(description: *const sys::rd_kafka_TopicDescription_t) -> TopicAnswer {
    // SAFETY: the caller's promise; the name is a part of the description.
    let topic = unsafe { text(sys::rd_kafka_TopicDescription_name(description)) };
    // SAFETY: the caller's promise; the error is a part of the description, or null, of which the
    // code is "no error".
    let code = unsafe { sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(description)) };
    if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return TopicAnswer { topic, description: Err(TopicError { code: code.into() }) };
    }
    // SAFETY: the caller's promise; the id is a part of the description.
    let id = unsafe { sys::rd_kafka_TopicDescription_topic_id(description) };
    let id = TopicId {
        // SAFETY: as above.
        most: unsafe { sys::rd_kafka_Uuid_most_significant_bits(id) },
        // SAFETY: as above.
        least: unsafe { sys::rd_kafka_Uuid_least_significant_bits(id) },
    };
    let mut partitions = 0;
    // SAFETY: the caller's promise; only the count is used.
    let _array = unsafe { sys::rd_kafka_TopicDescription_partitions(description, &raw mut partitions) };
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    TopicAnswer { topic, description: Ok(TopicDescription { id, partitions }) }
}

/// Copies a C string.
///
/// # Safety
/// `text` has to be null or end with a zero byte, and to live during the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
