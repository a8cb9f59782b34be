//! The exit codes of the command, and an error that carries one.
//!
//! The numbers from 64 on are those of BSD's `sysexits.h`, so that a supervisor can tell a mistake
//! that needs a person (64) from a condition that may pass (69).

use std::{fmt, process::ExitCode};

/// The meaning of the exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0   success; of a service: drained cleanly
  1   a message was not acknowledged (pub); a subscription was refused or has ended (sub)
  64  invalid command line or configuration; nothing was started
  69  unavailable: a port is in use, or a server cannot be reached
  70  internal error, or draining took longer than its deadline";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Success.
    Done = 0,
    /// The server refused a part of the request.
    Refused = 1,
    /// Invalid command line or configuration.
    Usage = 64,
    /// A port is in use, or a server cannot be reached.
    Unavailable = 69,
    /// An internal error.
    Internal = 70,
}

/// Why a command failed, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    cause: anyhow::Error,
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// Ends the command with `exit` on an error.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl Failure {
    /// A failure caused by an error.
    pub(crate) fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Self {
        Self { exit, cause: cause.into() }
    }

    /// A failure described by a sentence.
    pub(crate) fn message(exit: Exit, sentence: impl fmt::Display) -> Self {
        Self { exit, cause: anyhow::Error::msg(sentence.to_string()) }
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    /// Writes the chain of causes on one line, without causes that the error above already
    /// contains.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.cause.to_string();
        f.write_str(&last)?;
        for cause in self.cause.chain().skip(1) {
            let cause = cause.to_string();
            if !last.contains(&cause) {
                write!(f, ": {cause}")?;
                last = cause;
            }
        }
        Ok(())
    }
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(exit, cause))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_every_cause_once() {
        let cause = anyhow::anyhow!("connection refused")
            .context("tcp connect: connection refused")
            .context("no ingest");
        assert_eq!(
            Failure::new(Exit::Unavailable, cause).to_string(),
            "no ingest: tcp connect: connection refused"
        );
    }

    #[test]
    fn the_help_has_every_exit_code() {
        for exit in [Exit::Done, Exit::Refused, Exit::Usage, Exit::Unavailable, Exit::Internal] {
            let line = format!("\n  {:<4}", exit as u8);
            assert!(HELP.contains(&line), "{exit:?} is not in the help");
        }
    }
}
