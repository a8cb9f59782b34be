//! Being asked to end: by Ctrl-C in a terminal, and by SIGTERM, which CI, systemd and containers send.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end. As long as it lives, and after, they do not end it by themselves.
pub(crate) struct Interrupts {
    terminal: Signal,
    termination: Signal,
}

impl Interrupts {
    /// Catches them from here on.
    pub(crate) fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("interrupts cannot be caught");
        Ok(Self { terminal: catch(SignalKind::interrupt())?, termination: catch(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminal.recv() => {}
            _ = self.termination.recv() => {}
        }
    }

    /// Goes through a stage of a run, unless there is an interrupt: then it fails with what it was at.
    pub(crate) async fn unless<T>(
        &mut self,
        stage: impl fmt::Display,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.next() => bail!("interrupted while {stage}"),
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, process::Command};

    use super::*;
    use crate::progress::Progress;

    // Ctrl-C was heard only when the schedule ran, and SIGTERM left neither results nor a word.
    #[tokio::test]
    async fn a_stage_that_does_not_end_is_left_at_either_signal_with_a_word() {
        let mut interrupts = Interrupts::catch().expect("they can be caught");
        let connecting = Progress::new("connecting", 100);
        connecting.at(20);
        for name in ["-INT", "-TERM"] {
            let own = std::process::id().to_string();
            let sent = Command::new("kill").args([name, &own]).status().expect("there is kill");
            assert!(sent.success());
            let left = interrupts.unless(&connecting, pending::<Result<()>>()).await;
            let said = left.expect_err("it never ends").to_string();
            assert_eq!(said, "interrupted while connecting, 20 of 100");
        }
        let done = interrupts.unless("resting", async { Ok(7) }).await;
        assert_eq!(done.expect("nobody interrupts it"), 7);
    }
}
