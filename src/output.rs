//! Standard output, which is data, and standard error, which is talk.
//!
//! Data is written through one locked, buffered handle and flushed when a batch is complete. When the reader has gone
//! (`tailcast sub … | head`) the command has nothing left to do: that is an end and not an error.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use crate::exit::{Exit, Failure};

/// Where data goes.
#[derive(Debug)]
pub(crate) struct Output<W: Write = StdoutLock<'static>> {
    to: BufWriter<W>,
}

/// Whether anybody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    /// The reader is there.
    There,
    /// The pipe is closed: end quietly.
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

    /// Writes one line, given without its end. It is seen after `flush`.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<Reader, Failure> {
        judge(self.to.write_all(line).and_then(|()| self.to.write_all(b"\n")))
    }

    /// Writes text as it is. It is seen after `flush`.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> Result<Reader, Failure> {
        judge(write!(self.to, "{text}"))
    }

    /// Hands everything over to the reader.
    pub(crate) fn flush(&mut self) -> Result<Reader, Failure> {
        judge(self.to.flush())
    }
}

/// Writes text and hands it over; for commands that print once.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut output = Output::standard();
    // Without a reader there is nothing left to do, which is not a failure.
    let _reader = output.text(text).and_then(|_| output.flush())?;
    Ok(())
}

/// Writes a line to standard error. A closed standard error is not a failure.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn judge(written: io::Result<()>) -> Result<Reader, Failure> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::say(Exit::Internal, format_args!("standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has gone.
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
    fn a_reader_that_has_gone_is_an_end_and_not_an_error() {
        let mut output = Output::new(Closed);
        assert_eq!(output.line(b"a").expect("it is only buffered"), Reader::There);
        assert_eq!(output.flush().expect("a broken pipe is no failure"), Reader::Gone);
    }

    #[test]
    fn a_line_is_written_whatever_its_bytes() {
        let mut written = Vec::new();
        let mut output = Output::new(&mut written);
        assert_eq!(output.line(b"\xff\0").expect("a vector takes everything"), Reader::There);
        assert_eq!(output.flush().expect("a vector takes everything"), Reader::There);
        drop(output);
        assert_eq!(written, b"\xff\0\n");
    }
}
