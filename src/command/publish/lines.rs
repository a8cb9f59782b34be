//! The lines of standard input, as messages.
//!
//! A thread of its own reads, because a read of a terminal or a pipe cannot be cancelled. It waits when `LINES_MAX` lines
//! have not been taken yet.

use std::{
    io::{self, BufRead, Read},
    thread,
};

use bytes::Bytes;
use tailcast_proto::ingest::v1::Message;
use tokio::sync::mpsc;

/// How many lines are read ahead of what is published: two full requests.
const LINES_MAX: usize = 1_000;

/// The longest line, in bytes: above what Kafka takes by default (1 MiB), so that ingest says what is too large.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The lines of standard input, as messages.
#[derive(Debug)]
pub(super) struct Lines {
    lines: mpsc::Receiver<Result<Message, LineError>>,
}

/// Why a line is no message. Reading stops there.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// There is no separator in the line.
    #[error("line {number} has no {separator:?} between key and value")]
    NoSeparator {
        /// Which line, counted from 1.
        number: u64,
        /// What was looked for.
        separator: String,
    },
    /// There is nothing before the separator.
    #[error("line {number} has nothing before {separator:?}; a key is 1 byte or more")]
    NoKey {
        /// Which line, counted from 1.
        number: u64,
        /// What was found.
        separator: String,
    },
    /// The line does not end.
    #[error("line {number} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Which line, counted from 1.
        number: u64,
    },
    /// Standard input failed.
    #[error("cannot read standard input after line {number}")]
    Read {
        /// The last line that was read, counted from 1.
        number: u64,
        /// Why.
        source: io::Error,
    },
}

/// Makes messages of lines.
#[derive(Debug)]
struct Parser {
    template: Message,
    key_separator: Option<String>,
    number: u64,
}

impl Lines {
    /// Reads standard input: each line is the value of a message like `template`, or its key and value.
    pub(super) fn of_standard_input(template: Message, key_separator: Option<String>) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let mut parser = Parser { template, key_separator, number: 0 };
        thread::Builder::new().name("standard-input".to_owned()).spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(message) = parser.next(&mut input).transpose() {
                let last = message.is_err();
                if sender.blocking_send(message).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(Self { lines })
    }

    /// Waits for lines and takes at most `most` of them; none when the input has ended. Cancel safe.
    pub(super) async fn next(&mut self, most: usize) -> Vec<Result<Message, LineError>> {
        let mut lines = Vec::new();
        self.lines.recv_many(&mut lines, most).await;
        lines
    }
}

impl Parser {
    fn next(&mut self, input: &mut impl BufRead) -> Result<Option<Message>, LineError> {
        let mut line = Vec::new();
        let read = input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
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
        } else if line.len() as u64 > LINE_BYTES_MAX {
            return Err(LineError::TooLong { number: self.number });
        }
        self.message(Bytes::from(line)).map(Some)
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
    use super::*;

    #[track_caller]
    fn check(input: &str, key_separator: Option<&str>, expected: &str) {
        let template = Message { topic: "t".to_owned(), key: Some("k".into()), ..Message::default() };
        let mut parser = Parser { template, key_separator: key_separator.map(str::to_owned), number: 0 };
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
    fn a_separator_divides_key_and_value_where_it_first_occurs() {
        check("a=1\nb=2=3\nc=\n", Some("="), "a:1 | b:2=3 | c:");
        check("a::1\n", Some("::"), "a:1");
    }

    #[test]
    fn a_line_without_a_key_ends_the_input_and_is_named() {
        check("a=1\nb\nc=3\n", Some("="), "a:1 | line 2 has no \"=\" between key and value");
        check("=1\n", Some("="), "line 1 has nothing before \"=\"; a key is 1 byte or more");
    }

    #[test]
    fn a_line_without_an_end_is_refused_and_not_kept() {
        let mut parser = Parser { template: Message::default(), key_separator: None, number: 0 };
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let refused = parser.next(&mut endless).expect_err("no line is this long");
        assert_eq!(refused.to_string(), "line 1 is longer than 16777216 bytes");
    }
}
