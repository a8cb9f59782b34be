//! Standard output for data, and standard error for messages to the user.
//!
//! Data is written through one locked, buffered handle and flushed when a batch is complete. When
//! the reader has closed the pipe (`tailcast sub … | head`) the command has nothing left to do: it
//! ends, without an error.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use crate::exit::{Exit, Failure};

/// A buffered output for data.
#[derive(Debug)]
pub(crate) struct Output<W: Write = StdoutLock<'static>> {
    to: BufWriter<W>,
}

/// Whether the output still has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    /// The reader is there.
    There,
    /// The pipe is closed: end without an error.
    Gone,
}

impl Output {
    /// Takes standard output.
    pub(crate) fn standard() -> Self {
        Self::new(io::stdout().lock())
    }
}

impl<W: Write> Output<W> {
    /// Writes to `to`.
    pub(crate) fn new(to: W) -> Self {
        Self { to: BufWriter::new(to) }
    }

    /// Writes one line, given without its line break. It is visible after `flush`.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<Reader, Failure> {
        classify(self.to.write_all(line).and_then(|()| self.to.write_all(b"\n")))
    }

    /// Writes text unchanged. It is visible after `flush`.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> Result<Reader, Failure> {
        classify(write!(self.to, "{text}"))
    }

    /// Flushes the buffer.
    pub(crate) fn flush(&mut self) -> Result<Reader, Failure> {
        classify(self.to.flush())
    }
}

/// Writes text and flushes it; for commands that print once.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut output = Output::standard();
    // A missing reader is not a failure.
    let _reader = output.text(text).and_then(|_| output.flush())?;
    Ok(())
}

/// Writes a line to standard error. It is not a failure if that is closed.
pub(crate) fn report(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn classify(written: io::Result<()>) -> Result<Reader, Failure> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::message(Exit::Internal, format_args!("standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe without a reader.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let mut output = Output::new(Closed);
        assert_eq!(output.line(b"a").expect("it is only buffered"), Reader::There);
        assert_eq!(output.flush().expect("a broken pipe is no failure"), Reader::Gone);
    }

    #[test]
    fn a_line_may_have_any_bytes() {
        let mut written = Vec::new();
        let mut output = Output::new(&mut written);
        assert_eq!(output.line(b"\xff\0").expect("a vector takes everything"), Reader::There);
        assert_eq!(output.flush().expect("a vector takes everything"), Reader::There);
        drop(output);
        assert_eq!(written, b"\xff\0\n");
    }
}
