//! Validation of requests.
//!
//! All violations of a request are reported at once, so that a caller need not send it again for
//! each mistake. A violation has the path of the field (`messages[3].topic`) and the expected form.
//! Validation does not query Kafka.

mod message;
mod violation;

use tailcast_proto::ingest::v1;

use self::message::LastTopic;
pub(crate) use self::{
    message::Record,
    violation::{Violation, Violations},
};

/// The limits of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// The maximum size of a message, in bytes: key, value and headers together.
    pub(crate) message_bytes_max: usize,
    /// The maximum number of headers.
    pub(crate) headers_max: usize,
}

impl MessageLimits {
    /// The maximum number of messages in a request. It is part of the contract, so it cannot be
    /// configured.
    pub(crate) const BATCH_MAX: usize = 500;

    /// Parses a unary request, or returns all its violations.
    pub(crate) fn batch(&self, messages: Vec<v1::Message>) -> Result<Vec<Record>, Violations> {
        let mut violations = Violations::default();
        if messages.is_empty() {
            violations.add("messages", "is empty; a request has 1 to 500 messages");
        }
        size(messages.len(), &mut violations);
        let mut records = Vec::with_capacity(messages.len());
        let mut topics = LastTopic::default();
        for (index, message) in messages.into_iter().take(Self::BATCH_MAX).enumerate() {
            match self.message(message, &mut topics) {
                Ok(record) => records.push(record),
                Err(found) => {
                    violations.extend(found.into_iter().map(|violation| violation.of_message(index)));
                }
            }
        }
        if violations.is_empty() { Ok(records) } else { Err(violations) }
    }

    /// Checks the number of messages in a request on a stream. 0 is allowed: the request asks for
    /// credits.
    pub(crate) fn chunk_size(messages: usize) -> Result<(), Violations> {
        let mut violations = Violations::default();
        size(messages, &mut violations);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Parses a request on a stream. An invalid message fails alone.
    pub(crate) fn chunk(
        self,
        messages: Vec<v1::Message>,
    ) -> impl Iterator<Item = Result<Record, Vec<Violation>>> {
        let mut topics = LastTopic::default();
        messages.into_iter().map(move |message| self.message(message, &mut topics))
    }
}

fn size(messages: usize, violations: &mut Violations) {
    if messages > MessageLimits::BATCH_MAX {
        violations.add(
            "messages",
            format!("has {messages} messages; the limit is 500, send the rest in another request"),
        );
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message() -> v1::Message {
        v1::Message {
            topic: "quotes".into(),
            key: Some(Bytes::from_static(b"AAPL")),
            value: Some(Bytes::from_static(b"1.25")),
            ..v1::Message::default()
        }
    }

    #[track_caller]
    fn check(messages: Vec<v1::Message>, expected: &[&str]) {
        let limits = MessageLimits { message_bytes_max: 100, headers_max: 2 };
        let found = match limits.batch(messages) {
            Ok(_) => Vec::new(),
            Err(violations) => violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_request_has_one_to_five_hundred_messages() {
        check(vec![], &["messages: is empty; a request has 1 to 500"]);
        check(vec![message(); 1], &[]);
        check(vec![message(); 500], &[]);
        check(vec![message(); 501], &["messages: has 501 messages; the limit is 500"]);
    }

    #[test]
    fn all_violations_of_a_request_are_reported_at_once() {
        let header = |name: &str| v1::Header { name: name.into(), value: None };
        check(
            vec![
                v1::Message { topic: String::new(), ..message() },
                message(),
                v1::Message {
                    topic: "__consumer_offsets".into(),
                    key: Some(Bytes::new()),
                    headers: vec![header("a"), header("")],
                    timestamp_ms: Some(-1),
                    ..message()
                },
            ],
            &[
                "messages[0].topic: the topic name is empty",
                "messages[2].topic: topics whose names start with \"__\"",
                "messages[2].key: ",
                "messages[2].headers[1].name: is empty",
                "messages[2].timestamp_ms: is -1",
            ],
        );
    }

    #[test]
    fn a_topic_name_is_checked_as_kafka_checks_it() {
        check(vec![v1::Message { topic: "x".repeat(249), ..message() }], &[]);
        check(
            vec![v1::Message { topic: "x".repeat(250), ..message() }],
            &["messages[0].topic: the topic name has 250 bytes"],
        );
        check(
            vec![v1::Message { topic: "a/b".into(), ..message() }],
            &["messages[0].topic: the topic name has '/'"],
        );
    }

    #[test]
    fn a_null_value_and_an_absent_key_are_allowed_and_an_empty_key_is_not() {
        check(vec![v1::Message { value: None, ..message() }], &[]);
        check(vec![v1::Message { value: Some(Bytes::new()), ..message() }], &[]);
        check(vec![v1::Message { key: None, ..message() }], &[]);
        check(
            vec![v1::Message { key: Some(Bytes::new()), ..message() }],
            &[
                "messages[0].key: is empty; a key has 1 byte or more (omit the field for a message without a key)",
            ],
        );
    }

    #[test]
    fn the_size_of_a_message_is_its_key_value_and_headers() {
        let value = |len: usize| v1::Message { value: Some(vec![b'x'; len].into()), ..message() };
        check(vec![value(96)], &[]);
        check(vec![value(97)], &["messages[0].value: the message has 101 bytes"]);
        let header = v1::Header { name: "name".into(), value: Some(vec![b'x'; 6].into()) };
        check(vec![v1::Message { headers: vec![header.clone()], ..value(86) }], &[]);
        check(
            vec![v1::Message { headers: vec![header], ..value(87) }],
            &["messages[0].value: the message has 101 bytes"],
        );
    }

    #[test]
    fn headers_are_limited_and_have_names_and_one_content_type() {
        let header = |name: &str| v1::Header { name: name.into(), value: Some(Bytes::new()) };
        check(vec![v1::Message { headers: vec![header("a"); 2], ..message() }], &[]);
        check(
            vec![v1::Message { headers: vec![header("a"); 3], ..message() }],
            &["messages[0].headers: has 3 headers"],
        );
        check(
            vec![v1::Message {
                headers: vec![header("Content-Type")],
                content_type: "text/plain".into(),
                ..message()
            }],
            &["messages[0].content_type: is also set as a header"],
        );
    }

    #[test]
    fn only_the_invalid_messages_of_a_stream_fail() {
        let limits = MessageLimits { message_bytes_max: 100, headers_max: 2 };
        let wrong = v1::Message { topic: "a/b".into(), ..message() };
        let found = limits.chunk(vec![message(), wrong, message()]);
        assert_eq!(found.map(|found| found.is_ok()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(MessageLimits::chunk_size(0), Ok(()));
        assert_eq!(MessageLimits::chunk_size(500), Ok(()));
        assert!(MessageLimits::chunk_size(501).is_err());
    }
}
