//! A companion process: this program with another subcommand, so that its CPU is not counted. It
//! writes its result as one line of JSON to standard output.

use std::{
    io::{self, Read as _, Write as _},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};

use super::programs;

/// A companion process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Companion {
    role: &'static str,
    child: Child,
}

impl Companion {
    /// Starts this program in a role.
    pub(crate) fn start(role: &'static str, flags: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(programs::this()?);
        command.arg(role).stdin(Stdio::null()).stdout(Stdio::piped());
        command.args(flags.iter().map(|(flag, value)| format!("{flag}={value}")));
        let child = command.spawn().with_context(|| format!("`bench {role}` cannot be started"))?;
        Ok(Self { role, child })
    }

    /// Waits for the process to end, and returns its result. Fails when the process failed; its own
    /// error is on standard error.
    pub(crate) fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        let role = self.role;
        let mut answer = String::new();
        let mut output = self.child.stdout.take().context("its output is piped")?;
        output.read_to_string(&mut answer).with_context(|| format!("`bench {role}` cannot be read"))?;
        let status = self.child.wait().with_context(|| format!("`bench {role}` has no exit status"))?;
        ensure!(status.success(), "`bench {role}` failed ({status})");
        serde_json::from_str(&answer)
            .with_context(|| format!("unexpected output of `bench {role}`: {answer:?}"))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // Both fail when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the result of a companion process.
pub(crate) fn answer(answer: &impl Serialize) -> Result<ExitCode> {
    let answer = serde_json::to_string(answer)?;
    writeln!(io::stdout(), "{answer}").context("standard output is closed")?;
    Ok(ExitCode::SUCCESS)
}
