//! A record as one line.
//!
//! Text: `channel<TAB>partition<TAB>offset<TAB>value`. The channel is the record's own
//! (`quotes/AAPL`, also under a subscription to `quotes/*`), so that its key is visible. A record
//! stays on one line: line breaks in a value are written `\n` and `\r`, a value that is not UTF-8
//! as `base64:…`, and a tombstone has no fourth column. Terminals interpret control characters, so
//! all of them are escaped there. The JSON form is exact.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{json, record::Record};

/// The output format of records.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// As columns.
    Text {
        /// Whether a line begins with the time.
        timestamps: bool,
        /// How control characters are written.
        controls: Controls,
    },
    /// As JSON objects.
    Json {
        /// Whether values that are JSON are printed unquoted.
        parse: bool,
    },
}

/// How control characters of a value are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Controls {
    /// Unchanged.
    Raw,
    /// Line breaks are escaped, so that a record stays on one line.
    LineBreaksEscaped,
    /// All are escaped, because a terminal interprets them.
    Escaped,
}

impl Controls {
    fn write(self, text: &str) -> String {
        let is_escaped = |c: char| match self {
            Self::Raw => false,
            Self::LineBreaksEscaped => c == '\n' || c == '\r',
            Self::Escaped => c.is_control() && c != '\t',
        };
        let mut written = String::with_capacity(text.len());
        for c in text.chars() {
            if is_escaped(c) { written.extend(c.escape_default()) } else { written.push(c) }
        }
        written
    }
}

impl Record<'_> {
    /// Writes the record, without the end of the line.
    pub(super) fn line(&self, form: Form) -> String {
        match form {
            Form::Json { parse } => json::write(self, parse),
            Form::Text { timestamps, controls } => self.text(timestamps, controls),
        }
    }

    fn text(&self, timestamps: bool, controls: Controls) -> String {
        let time = if timestamps { self.time() + "\t" } else { String::new() };
        // A key may have control characters too.
        let channel = controls.write(&self.own_channel().to_string());
        let mut line = format!("{time}{channel}\t{}\t{}", self.partition, self.offset);
        if let Some(value) = self.value {
            line.push('\t');
            match std::str::from_utf8(value) {
                Ok(text) => line.push_str(&controls.write(text)),
                Err(_) => line.push_str(&format!("base64:{}", BASE64_STANDARD.encode(value))),
            }
        }
        line
    }

    /// Returns the record's time in UTC; `-` if it has none.
    fn time(&self) -> String {
        let since = self.timestamp_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        // RFC 3339 ends with the year 9999.
        let time = since.filter(|since| since.as_secs() < 253_402_300_800).map(|since| UNIX_EPOCH + since);
        time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tailcast_proto::{Offset, PartitionId};

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
            headers: &[],
        };
        let columns = Form::Text { timestamps: false, controls: Controls::LineBreaksEscaped };
        assert_eq!(record.line(columns), text);
        assert_eq!(record.line(Form::Json { parse: false }), json);
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
    fn a_tombstone_and_an_empty_value_are_different() {
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

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let value = Bytes::from_static("\u{1b}[2J\u{9b}31m\ta\nb é".as_bytes());
        let channel = "t/k".parse().expect("a channel");
        let record = Record {
            channel: &channel,
            partition: PartitionId::new(0),
            offset: Offset::new(1).expect("it is not negative"),
            timestamp_ms: Some(1_500),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        let line = |timestamps, controls| record.line(Form::Text { timestamps, controls });
        assert_eq!(line(false, Controls::Escaped), "t/k\t0\t1\t\\u{1b}[2J\\u{9b}31m\ta\\nb é");
        assert_eq!(line(false, Controls::LineBreaksEscaped), "t/k\t0\t1\t\u{1b}[2J\u{9b}31m\ta\\nb é");
        assert_eq!(line(false, Controls::Raw), "t/k\t0\t1\t\u{1b}[2J\u{9b}31m\ta\nb é");
        assert!(line(true, Controls::Raw).starts_with("1970-01-01T00:00:01.500Z\tt/k\t"));
        assert!(
            Record { timestamp_ms: None, ..record }
                .line(Form::Text { timestamps: true, controls: Controls::Raw })
                .starts_with("-\tt/k")
        );
    }
}
