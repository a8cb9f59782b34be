//! A file whose whole content is one value: `--file`.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    str::FromStr,
};

use bytes::Bytes;

use super::lines::MESSAGE_BYTES_MAX;

/// A file whose whole content is one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueFile {
    /// Standard input (`-`).
    StandardInput,
    /// A file.
    Path(PathBuf),
}

/// Why the file cannot be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file cannot be read.
    #[error("cannot read {name}")]
    Read {
        /// The file.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// It does not fit into a request.
    #[error("{name} exceeds the limit of {MESSAGE_BYTES_MAX} bytes for one message")]
    TooLong {
        /// The file.
        name: String,
    },
}

impl ValueFile {
    /// Reads the whole file. Blocks until standard input ends.
    pub(super) fn read(&self) -> Result<Bytes, FileError> {
        let (name, read) = match self {
            Self::StandardInput => ("standard input".to_owned(), read(io::stdin().lock())),
            Self::Path(path) => (path.display().to_string(), File::open(path).and_then(read)),
        };
        match read {
            Ok(value) if value.len() > MESSAGE_BYTES_MAX => Err(FileError::TooLong { name }),
            Ok(value) => Ok(value.into()),
            Err(source) => Err(FileError::Read { name, source }),
        }
    }
}

impl FromStr for ValueFile {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::StandardInput } else { Self::Path(text.into()) })
    }
}

/// Reads at most one byte more than the limit of a message.
fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    input.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyphen_is_standard_input() {
        assert_eq!("-".parse(), Ok(ValueFile::StandardInput));
        assert_eq!("a/b".parse(), Ok(ValueFile::Path("a/b".into())));
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_of_a_message() {
        assert_eq!(read(io::repeat(b'x')).expect("it never fails").len(), MESSAGE_BYTES_MAX + 1);
        assert_eq!(read(&b"a\nb\n"[..]).expect("it never fails"), b"a\nb\n");
        let missing =
            "no/such/file".parse().map(|file: ValueFile| file.read().map_err(|error| error.to_string()));
        assert_eq!(missing, Ok(Err("cannot read no/such/file".to_owned())));
    }
}
