//! Parses one message of a request into a record.

use bytes::Bytes;
use tailcast_proto::{Key, KeyError, TopicName, TopicNameError, ingest::v1};

use super::{MessageLimits, Violation};

/// The record header with the media type of the value.
const CONTENT_TYPE: &str = "content-type";

/// A valid message.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) topic: TopicName,
    /// Absent: any partition.
    pub(crate) key: Option<Key>,
    /// Absent: a tombstone.
    pub(crate) value: Option<Bytes>,
    /// In order, including the content type.
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the Unix epoch, above 0. Absent: the time of enqueuing.
    pub(crate) timestamp_ms: Option<i64>,
    /// Key, value and headers, in bytes.
    pub(crate) bytes: usize,
}

/// The topic of the previous message. Most messages have the same topic, whose name need not be
/// parsed again.
#[derive(Debug, Default)]
pub(super) struct LastTopic(Option<TopicName>);

impl Record {
    /// Returns whether the message has a header of this name, in upper or lower case.
    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name))
    }
}

impl LastTopic {
    fn parse(&mut self, name: &str) -> Result<TopicName, TopicNameError> {
        if let Some(last) = self.0.as_ref().filter(|last| last.as_str() == name) {
            return Ok(last.clone());
        }
        let topic = TopicName::parse(name)?;
        self.0 = Some(topic.clone());
        Ok(topic)
    }
}

impl MessageLimits {
    /// Parses a message, or returns all its violations.
    pub(super) fn message(
        &self,
        message: v1::Message,
        last: &mut LastTopic,
    ) -> Result<Record, Vec<Violation>> {
        let mut violations = Vec::new();
        let bytes = size(&message);
        let topic = last
            .parse(&message.topic)
            .map_err(|error| violations.push(Violation::new("topic", error.to_string())));
        let key = key(message.key).map_err(|violation| violations.push(violation));
        self.headers(&message.headers, &mut violations);
        content_type(&message.content_type, &message.headers, &mut violations);
        if let Some(timestamp) = message.timestamp_ms.filter(|&timestamp| timestamp <= 0) {
            violations.push(Violation::new(
                "timestamp_ms",
                format!("is {timestamp}; must be milliseconds since 1970, above 0, or absent for the time of arrival"),
            ));
        }
        if bytes > self.message_bytes_max {
            let most = self.message_bytes_max;
            violations.push(Violation::new(
                "value",
                format!("the message has {bytes} bytes including key and headers; the limit is {most}"),
            ));
        }
        let (Ok(topic), Ok(key), true) = (topic, key, violations.is_empty()) else {
            return Err(violations);
        };
        let mut headers: Vec<_> =
            message.headers.into_iter().map(|header| (header.name, header.value)).collect();
        if !message.content_type.is_empty() {
            headers.push((CONTENT_TYPE.to_owned(), Some(message.content_type.into())));
        }
        Ok(Record { topic, key, value: message.value, headers, timestamp_ms: message.timestamp_ms, bytes })
    }

    fn headers(&self, headers: &[v1::Header], violations: &mut Vec<Violation>) {
        if headers.len() > self.headers_max {
            let (found, most) = (headers.len(), self.headers_max);
            violations.push(Violation::new("headers", format!("has {found} headers; the limit is {most}")));
            return;
        }
        for (index, _) in headers.iter().enumerate().filter(|(_, header)| header.name.is_empty()) {
            violations.push(Violation::new(
                format!("headers[{index}].name"),
                "is empty; a header name has 1 byte or more",
            ));
        }
    }
}

fn key(key: Option<Bytes>) -> Result<Option<Key>, Violation> {
    key.map(Key::new).transpose().map_err(|error| match error {
        KeyError::Empty => Violation::new(
            "key",
            "is empty; a key has 1 byte or more (omit the field for a message without a key)",
        ),
        KeyError::TooLong { len } => {
            Violation::new("key", format!("has {len} bytes; the limit is {}", Key::LEN_MAX))
        }
    })
}

fn content_type(content_type: &str, headers: &[v1::Header], violations: &mut Vec<Violation>) {
    let doubled = headers.iter().any(|header| header.name.eq_ignore_ascii_case(CONTENT_TYPE));
    if !content_type.is_empty() && doubled {
        violations.push(Violation::new("content_type", "is also set as a header; set only one of them"));
    }
}

fn size(message: &v1::Message) -> usize {
    let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = message.headers.iter().map(|header| header.name.len() + len(&header.value)).sum::<usize>();
    let content_type = match message.content_type.len() {
        0 => 0,
        len => CONTENT_TYPE.len() + len,
    };
    len(&message.key) + len(&message.value) + headers + content_type
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_becomes_the_last_header() {
        let limits = MessageLimits { message_bytes_max: 100, headers_max: 2 };
        let message = v1::Message {
            topic: "quotes".into(),
            headers: vec![v1::Header { name: "ce_id".into(), value: Some(Bytes::from_static(b"7")) }],
            content_type: "application/json".into(),
            ..v1::Message::default()
        };
        let record = limits.message(message, &mut LastTopic::default()).expect("the message is valid");
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ce_id", "content-type"]);
        assert_eq!(record.headers[1].1.as_deref(), Some(b"application/json".as_slice()));
        assert_eq!(record.bytes, 5 + 1 + 12 + 16);
        assert!(record.has_header("CE_ID"));
    }

    #[test]
    fn a_topic_is_parsed_whatever_the_previous_message() {
        let mut last = LastTopic::default();
        let mut parse = |name: &str| last.parse(name).map(|topic| topic.to_string());
        assert_eq!(parse("quotes").as_deref(), Ok("quotes"));
        assert_eq!(parse("quotes").as_deref(), Ok("quotes"));
        assert!(parse("a/b").is_err());
        assert!(parse("a/b").is_err(), "an invalid name is rejected again");
        assert_eq!(parse("trades").as_deref(), Ok("trades"));
        assert_eq!(parse("quotes").as_deref(), Ok("quotes"));
    }
}
