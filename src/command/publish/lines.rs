//! The lines of standard input, as messages.
//!
//! A dedicated thread reads, because a read from a terminal or a pipe cannot be cancelled. It reads
//! at most `LINES_MAX` lines and `AHEAD_BYTES_MAX` bytes ahead.
//!
//! Invariant: each returned batch fits one request, and a line that fits no request is never
//! returned.

mod parser;

use std::{io, sync::Arc, thread};

use prost::Message as _;
use tailcast_proto::ingest::v1::Message;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use self::parser::Parser;
pub(super) use self::parser::{LineError, MESSAGE_BYTES_MAX};

/// Maximum number of lines read ahead: two full requests.
const LINES_MAX: usize = 1_000;

/// Maximum number of bytes read ahead: eight full requests, or two of the largest lines.
const AHEAD_BYTES_MAX: usize = 8 << 20;

/// Maximum size of a request of several lines: a quarter of `ingest.request_bytes_max`, so that
/// over a slow network the first acknowledgement comes before the deadline. A longer line is sent
/// alone.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The lines of standard input, as messages.
#[derive(Debug)]
pub(super) struct Lines {
    lines: mpsc::Receiver<Line>,
    /// The line that did not fit into the previous request.
    leftover: Option<Line>,
}

/// A line that was read ahead.
#[derive(Debug)]
struct Line {
    message: Result<Message, LineError>,
    bytes: usize,
    /// Its share of `AHEAD_BYTES_MAX`, released when the line is taken.
    _room: Option<OwnedSemaphorePermit>,
}

impl Lines {
    /// Starts to read standard input: each line is the value of a message like `template`, or its
    /// key and value.
    ///
    /// Must be called within a runtime.
    pub(super) fn of_standard_input(template: Message, key_separator: Option<String>) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let mut parser = Parser::new(template, key_separator);
        let (room, runtime) = (Arc::new(Semaphore::new(AHEAD_BYTES_MAX)), Handle::current());
        thread::Builder::new().name("standard-input".to_owned()).spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(message) = parser.next(&mut input).transpose() {
                let last = message.is_err();
                let bytes = u32::try_from(bytes_of(&message)).unwrap_or(u32::MAX);
                let room = runtime.block_on(Arc::clone(&room).acquire_many_owned(bytes)).ok();
                if sender.blocking_send(Line::new(message, room)).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(Self { lines, leftover: None })
    }

    /// Lines that were read before.
    #[cfg(test)]
    pub(super) fn of(messages: Vec<Message>) -> Self {
        let (sender, lines) = mpsc::channel(messages.len().max(1));
        for message in messages {
            sender.try_send(Line::new(Ok(message), None)).expect("there is room for all");
        }
        Self { lines, leftover: None }
    }

    /// Waits for lines, and returns those that fit into one request, at most `most`; none at the
    /// end of the input.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self, most: usize) -> Vec<Result<Message, LineError>> {
        let first = match self.leftover.take() {
            Some(leftover) => Some(leftover),
            None => self.lines.recv().await,
        };
        let Some(first) = first else { return Vec::new() };
        let mut bytes = first.bytes;
        let mut taken = vec![first.message];
        while taken.len() < most
            && let Ok(line) = self.lines.try_recv()
        {
            bytes += line.bytes;
            if bytes > BATCH_BYTES_MAX {
                self.leftover = Some(line);
                break;
            }
            taken.push(line.message);
        }
        taken
    }
}

impl Line {
    fn new(message: Result<Message, LineError>, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { bytes: bytes_of(&message), message, _room: room }
    }
}

/// The encoded size of a line's message.
fn bytes_of(message: &Result<Message, LineError>) -> usize {
    message.as_ref().map_or(0, Message::encoded_len)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_request_is_closed_by_its_bytes_too() {
        // Only lines were counted: 500 of 10 kB made a request that exceeds the limit of ingest.
        let mut given = Vec::new();
        for bytes in [400_000, 400_000, 400_000, 2_000_000, 100, 1_000_000, 40_000, 10_000] {
            let value = Some(Bytes::from(vec![b'x'; bytes]));
            given.push(Message { value, ..Message::default() });
        }
        let mut lines = Lines::of(given);
        let mut requests = Vec::new();
        loop {
            let lines = lines.next(500).await;
            if lines.is_empty() {
                break;
            }
            let length = |line: Result<Message, LineError>| {
                line.expect("all are messages").value.unwrap_or_default().len()
            };
            requests.push(lines.into_iter().map(length).collect::<Vec<_>>());
        }
        let expected = [
            vec![400_000, 400_000],
            vec![400_000],
            vec![2_000_000],
            vec![100, 1_000_000, 40_000],
            vec![10_000],
        ];
        assert_eq!(requests, expected);
    }
}
