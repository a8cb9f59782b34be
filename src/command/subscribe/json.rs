//! A record as one line of JSON.
//!
//! Text is a string; bytes that are not UTF-8 are base64 under another name (`keyBase64`,
//! `valueBase64`). With `--parse` a value that is JSON is copied digit by digit, without the white
//! space between its tokens.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Serialize, de::IgnoredAny};
use tailcast_client::Header;
use tailcast_proto::Keys;

use super::record::Record;

/// A record as JSON. Bytes that are not UTF-8 are base64, under another name.
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
    value: Option<ValueForm<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderForm<'a>>,
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

/// A header. Kafka's names may repeat, so headers are a list.
#[derive(Serialize)]
struct HeaderForm<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: ValueForm<'a>,
}

/// Writes a record; with `parse`, a value that is JSON is not quoted.
pub(super) fn write(record: &Record<'_>, parse: bool) -> String {
    let channel = record.own_channel();
    let key = match &channel.keys {
        Keys::Exact(key) => Some(match std::str::from_utf8(key.as_bytes()) {
            Ok(text) => KeyForm::Key(text),
            Err(_) => KeyForm::KeyBase64(BASE64_STANDARD.encode(key.as_bytes())),
        }),
        Keys::Prefix(_) | Keys::All => None,
    };
    let parsed = record.value.filter(|_| parse).and_then(compact);
    let json = Json {
        channel: channel.to_string(),
        topic: channel.topic.as_str(),
        partition: record.partition.get(),
        offset: record.offset.get(),
        timestamp_ms: record.timestamp_ms,
        key,
        value: if parsed.is_some() { None } else { Some(ValueForm::of(record.value)) },
        headers: record.headers.iter().map(HeaderForm::of).collect(),
    };
    let mut line = serde_json::to_string(&json).expect("strings and numbers always serialize");
    if let Some(value) = parsed {
        // The object ends with its closing brace and is never empty.
        line.pop();
        line = format!("{line},\"value\":{value}}}");
    }
    line
}

/// Returns a value that is JSON without white space between its tokens, so that it fits on a line.
fn compact(value: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let _whole: IgnoredAny = serde_json::from_str(text).ok()?;
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |c: &char| {
        let kept = in_string || !c.is_ascii_whitespace();
        if *c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = *c == '\\' && !escaped;
        kept
    };
    Some(text.chars().filter(is_kept).collect())
}

impl<'a> ValueForm<'a> {
    fn of(value: Option<&'a Bytes>) -> Self {
        match value.map(|value| std::str::from_utf8(value).map_err(|_| value)) {
            None => Self::Value(None),
            Some(Ok(text)) => Self::Value(Some(text)),
            Some(Err(value)) => Self::ValueBase64(BASE64_STANDARD.encode(value)),
        }
    }
}

impl<'a> HeaderForm<'a> {
    fn of(header: &'a Header) -> Self {
        Self { name: &header.name, value: ValueForm::of(header.value.as_ref()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tailcast_proto::{Offset, PartitionId};

    use super::*;

    fn line(value: &[u8], headers: &[Header], parse: bool) -> String {
        let (channel, value) = ("t/k".parse().expect("a channel"), Bytes::copy_from_slice(value));
        let (partition, offset) = (PartitionId::new(0), Offset::new(1).expect("it is not negative"));
        let value = Some(&value);
        write(
            &Record { channel: &channel, partition, offset, timestamp_ms: None, key: None, value, headers },
            parse,
        )
    }

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let head = r#"{"channel":"t/k","topic":"t","partition":0,"offset":1,"key":"k","value":"#;
        assert_eq!(line(value.as_bytes(), &[], true), format!("{head}{expected}}}"));
    }

    #[test]
    fn a_value_that_is_json_is_copied_digit_by_digit() {
        check("{ \"b\": [1,\n 2.50],\t\"a\": \" x \\\" \\\\\" }", "{\"b\":[1,2.50],\"a\":\" x \\\" \\\\\"}");
        check("12345678901234567890123", "12345678901234567890123");
        check("null", "null");
        check("hello", "\"hello\"");
        check("{} {}", "\"{} {}\"");
        check("", "\"\"");
    }

    #[test]
    fn headers_are_a_list() {
        let header = |value: Option<&'static [u8]>| Header {
            name: "h".to_owned(),
            value: value.map(Bytes::from_static),
        };
        let headers = [header(Some(b"a")), header(Some(b"\xff")), header(None)];
        let expected = r#""headers":[{"name":"h","value":"a"},{"name":"h","valueBase64":"/w=="},{"name":"h","value":null}]"#;
        assert!(line(b"1", &headers, false).contains(expected));
        assert!(line(b"1", &headers, true).ends_with(&format!(r#"{expected},"value":1}}"#)));
    }

    proptest! {
        #[test]
        fn every_record_is_one_line_of_json(value in "[ \\n\\[\\]{}:,\"\\\\a1]{0,24}", parse: bool) {
            let line = line(value.as_bytes(), &[], parse);
            prop_assert!(!line.contains('\n'));
            let object: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
            let text = serde_json::Value::String(value.clone());
            let expected = if parse { serde_json::from_str(&value).unwrap_or(text) } else { text };
            prop_assert_eq!(&object["value"], &expected);
        }
    }
}
