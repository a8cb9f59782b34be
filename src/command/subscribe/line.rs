//! A record, as one line.
//!
//! Text: `channel<TAB>partition<TAB>offset<TAB>value`. The channel is the record's own (`quotes/AAPL`, also under a
//! subscription to `quotes/*`), so that its key is seen. A line stays a line: line breaks in a value are written `\n` and
//! `\r`, a value that is not UTF-8 as `base64:…`, and a tombstone has no fourth column. Where that is not exact enough
//! there is JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;
use tailcast_client::Delivery;
use tailcast_proto::{Channel, Key, Keys, Offset, PartitionId};

/// A record that came over a subscription.
#[derive(Debug, Clone)]
pub(super) struct Record<'a> {
    /// The subscription's channel.
    pub(super) channel: &'a Channel,
    /// Where the record is.
    pub(super) partition: PartitionId,
    /// Where in it.
    pub(super) offset: Offset,
    /// When it happened, in milliseconds since the Unix epoch.
    pub(super) timestamp_ms: Option<i64>,
    /// Its key, when the channel spans several and the record has one.
    pub(super) key: Option<&'a Bytes>,
    /// Its value. `None`: a tombstone.
    pub(super) value: Option<&'a Bytes>,
}

/// A record as JSON. What is not UTF-8 is base64, under another name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    channel: String,
    topic: &'a str,
    partition: u32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_ms: Option<i64>,
    #[serde(flatten)]
    key: Option<KeyForm<'a>>,
    #[serde(flatten)]
    value: ValueForm<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum KeyForm<'a> {
    Key(&'a str),
    KeyBase64(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ValueForm<'a> {
    Value(Option<&'a str>),
    ValueBase64(String),
}

impl<'a> From<&'a Delivery> for Record<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self {
            channel: &delivery.channel,
            partition: delivery.partition,
            offset: delivery.offset,
            timestamp_ms: delivery.timestamp_ms,
            key: delivery.key.as_ref(),
            value: delivery.value.as_ref(),
        }
    }
}

impl Record<'_> {
    /// Writes the record as text, without the end of the line.
    pub(super) fn text(&self) -> String {
        let mut line = format!("{}\t{}\t{}", self.own_channel(), self.partition, self.offset);
        if let Some(value) = self.value {
            line.push('\t');
            match std::str::from_utf8(value) {
                Ok(text) => line.push_str(&text.replace('\n', "\\n").replace('\r', "\\r")),
                Err(_) => line.push_str(&format!("base64:{}", BASE64_STANDARD.encode(value))),
            }
        }
        line
    }

    /// Writes the record as one line of JSON.
    pub(super) fn json(&self) -> String {
        let channel = self.own_channel();
        let key = match &channel.keys {
            Keys::Exact(key) => Some(match std::str::from_utf8(key.as_bytes()) {
                Ok(text) => KeyForm::Key(text),
                Err(_) => KeyForm::KeyBase64(BASE64_STANDARD.encode(key.as_bytes())),
            }),
            Keys::Prefix(_) | Keys::All => None,
        };
        let value = match self.value.map(|value| std::str::from_utf8(value).map_err(|_| value)) {
            None => ValueForm::Value(None),
            Some(Ok(text)) => ValueForm::Value(Some(text)),
            Some(Err(value)) => ValueForm::ValueBase64(BASE64_STANDARD.encode(value)),
        };
        let json = Json {
            channel: channel.to_string(),
            topic: channel.topic.as_str(),
            partition: self.partition.get(),
            offset: self.offset.get(),
            timestamp_ms: self.timestamp_ms,
            key,
            value,
        };
        serde_json::to_string(&json).expect("strings and numbers always serialize")
    }

    /// The channel of just this record's key; the subscription's where the record has none.
    fn own_channel(&self) -> Channel {
        let exact = self.key.and_then(|key| Key::new(key.clone()).ok()).map(Keys::Exact);
        let keys = exact.unwrap_or_else(|| self.channel.keys.clone());
        Channel { topic: self.channel.topic.clone(), keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(channel: &str, key: Option<&[u8]>, value: Option<&[u8]>, text: &str, json: &str) {
        let channel = channel.parse().expect("the test names a channel");
        let (key, value) = (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
        let record = Record {
            channel: &channel,
            partition: PartitionId::new(3),
            offset: Offset::new(42).expect("it is not negative"),
            timestamp_ms: Some(5),
            key: key.as_ref(),
            value: value.as_ref(),
        };
        assert_eq!(record.text(), text);
        assert_eq!(record.json(), json);
    }

    #[test]
    fn a_record_is_a_line_of_four_columns() {
        check(
            "chat/lobby",
            None,
            Some(b"hello"),
            "chat/lobby\t3\t42\thello",
            r#"{"channel":"chat/lobby","topic":"chat","partition":3,"offset":42,"timestampMs":5,"key":"lobby","value":"hello"}"#,
        );
    }

    #[test]
    fn a_record_of_a_whole_topic_names_its_own_channel() {
        check(
            "quotes/*",
            Some(b"BRK*A"),
            Some(b"1"),
            "quotes/BRK%2AA\t3\t42\t1",
            r#"{"channel":"quotes/BRK%2AA","topic":"quotes","partition":3,"offset":42,"timestampMs":5,"key":"BRK*A","value":"1"}"#,
        );
        check(
            "quotes/*",
            None,
            Some(b"1"),
            "quotes/*\t3\t42\t1",
            r#"{"channel":"quotes/*","topic":"quotes","partition":3,"offset":42,"timestampMs":5,"value":"1"}"#,
        );
    }

    #[test]
    fn a_tombstone_and_an_empty_value_are_told_apart() {
        let json = |value| {
            format!(
                r#"{{"channel":"t/k","topic":"t","partition":3,"offset":42,"timestampMs":5,"key":"k","value":{value}}}"#
            )
        };
        check("t/k", None, None, "t/k\t3\t42", &json("null"));
        check("t/k", None, Some(b""), "t/k\t3\t42\t", &json("\"\""));
    }

    #[test]
    fn a_value_never_breaks_its_line() {
        let json = r#"{"channel":"t/k","topic":"t","partition":3,"offset":42,"timestampMs":5,"key":"k","#;
        check("t/k", None, Some(b"a\r\nb"), "t/k\t3\t42\ta\\r\\nb", &format!(r#"{json}"value":"a\r\nb"}}"#));
        check(
            "t/k",
            None,
            Some(b"\xff\n"),
            "t/k\t3\t42\tbase64:/wo=",
            &format!(r#"{json}"valueBase64":"/wo="}}"#),
        );
    }
}
