//! Parses a line into a message.
//!
//! Invariant: an invalid line, or one that does not fit into a request, is refused with its number.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use prost::Message as _;
use tailcast_proto::ingest::v1::Message;

/// Maximum size of a message: a request of 4 MiB, the default limit of ingest, less its own fields,
/// which take at most 19 bytes. Ingest applies its own limit to a message
/// (`ingest.message_bytes_max`), which is smaller by default.
pub(in crate::command::publish) const MESSAGE_BYTES_MAX: usize = (4 << 20) - 32;

/// Why a line is not a message. Reading stops there.
#[derive(Debug, thiserror::Error)]
pub(in crate::command::publish) enum LineError {
    /// The line has no separator.
    #[error("line {number} has no {separator:?} between key and value")]
    NoSeparator {
        /// The line, counted from 1.
        number: u64,
        /// The expected separator.
        separator: String,
    },
    /// The key is empty.
    #[error("line {number} has an empty key before {separator:?}")]
    NoKey {
        /// The line, counted from 1.
        number: u64,
        /// The separator.
        separator: String,
    },
    /// The line does not fit into a request.
    #[error(
        "line {number} is too long: with topic, key and headers it exceeds the limit of {MESSAGE_BYTES_MAX} bytes for one \
         message"
    )]
    TooLong {
        /// The line, counted from 1.
        number: u64,
    },
    /// Standard input failed.
    #[error("cannot read standard input after line {number}")]
    Read {
        /// The last line that was read, counted from 1.
        number: u64,
        /// The cause.
        source: io::Error,
    },
}

/// Parses lines into messages.
#[derive(Debug)]
pub(super) struct Parser {
    template: Message,
    key_separator: Option<String>,
    number: u64,
}

impl Parser {
    /// Parses lines into messages like `template`: a line is a value, or a key and a value around
    /// `key_separator`.
    pub(super) fn new(template: Message, key_separator: Option<String>) -> Self {
        Self { template, key_separator, number: 0 }
    }

    /// Reads the next line; `None` when the input has ended.
    pub(super) fn next(&mut self, input: &mut impl BufRead) -> Result<Option<Message>, LineError> {
        let mut line = Vec::new();
        // The line break does not count towards the limit.
        let most = MESSAGE_BYTES_MAX as u64 + 2;
        let read = input.take(most).read_until(b'\n', &mut line);
        let length = read.map_err(|source| LineError::Read { number: self.number, source })?;
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        let message = self.message(Bytes::from(line))?;
        if message.encoded_len() > MESSAGE_BYTES_MAX {
            return Err(LineError::TooLong { number: self.number });
        }
        Ok(Some(message))
    }

    fn message(&self, line: Bytes) -> Result<Message, LineError> {
        let Some(separator) = &self.key_separator else {
            return Ok(Message { value: Some(line), ..self.template.clone() });
        };
        let number = self.number;
        let at = line.windows(separator.len().max(1)).position(|part| part == separator.as_bytes());
        match at {
            None => Err(LineError::NoSeparator { number, separator: separator.clone() }),
            Some(0) => Err(LineError::NoKey { number, separator: separator.clone() }),
            Some(at) => {
                let (key, value) = (line.slice(..at), line.slice(at + separator.len()..));
                Ok(Message { key: Some(key), value: Some(value), ..self.template.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tailcast_proto::ingest::v1::PublishStreamRequest;

    use super::*;

    #[track_caller]
    fn check(input: &str, key_separator: Option<&str>, expected: &str) {
        let template = Message { topic: "t".to_owned(), key: Some("k".into()), ..Message::default() };
        let mut parser = Parser::new(template, key_separator.map(str::to_owned));
        let mut input = input.as_bytes();
        let mut found = Vec::new();
        while let Some(line) = parser.next(&mut input).transpose() {
            let last = line.is_err();
            found.push(match line {
                Ok(message) => {
                    let text = |bytes: Option<Bytes>| {
                        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
                    };
                    format!("{}:{}", text(message.key), text(message.value))
                }
                Err(error) => error.to_string(),
            });
            if last {
                break;
            }
        }
        assert_eq!(found.join(" | "), expected);
    }

    #[test]
    fn every_line_is_a_value() {
        check("a\nb c\n", None, "k:a | k:b c");
        check("no end of line", None, "k:no end of line");
        check("dos\r\n", None, "k:dos");
        check("a\n\nb\n", None, "k:a | k: | k:b");
        check("", None, "");
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        check("a=1\nb=2=3\nc=\n", Some("="), "a:1 | b:2=3 | c:");
        check("a::1\n", Some("::"), "a:1");
    }

    #[test]
    fn a_line_without_a_key_ends_the_input_with_its_number() {
        check("a=1\nb\nc=3\n", Some("="), "a:1 | line 2 has no \"=\" between key and value");
        check("=1\n", Some("="), "line 1 has an empty key before \"=\"");
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_and_not_buffered() {
        let mut parser = Parser::new(Message::default(), None);
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let refused = parser.next(&mut endless).expect_err("no line is this long").to_string();
        assert!(refused.starts_with("line 1 is too long: "), "{refused}");
    }

    #[test]
    fn a_line_fits_into_a_request_or_is_refused() {
        // Lines were refused at 16 MiB and requests at 4 MiB: a line of a size between these ended
        // the stream.
        let template = Message { topic: "t".repeat(249), key: Some("k".into()), ..Message::default() };
        let parse = |bytes: usize| {
            let mut parser = Parser::new(template.clone(), None);
            parser.next(&mut [vec![b'x'; bytes], vec![b'\n']].concat().as_slice())
        };
        let most = MESSAGE_BYTES_MAX - template.encoded_len() - 5;
        let message = parse(most).expect("it just fits").expect("it is a line");
        assert_eq!(message.encoded_len(), MESSAGE_BYTES_MAX);
        let first_sequence = u64::MAX;
        let request = PublishStreamRequest { first_sequence, messages: vec![message], want_positions: true };
        assert!(request.encoded_len() <= 4 << 20, "{} bytes", request.encoded_len());
        let refused = parse(most + 1).expect_err("it does not fit").to_string();
        assert!(refused.starts_with("line 1 is too long: "), "{refused}");
    }
}
