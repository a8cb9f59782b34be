//! Signals that ask the process to end: SIGINT from Ctrl-C in a terminal, and SIGTERM from CI,
//! systemd and containers.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches the signals that ask a process to end. From then on they no longer end it by themselves,
/// even after this is dropped.
pub(crate) struct Interrupts {
    terminal: Signal,
    termination: Signal,
}

impl Interrupts {
    /// Starts catching the signals.
    pub(crate) fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("interrupts cannot be caught");
        Ok(Self { terminal: catch(SignalKind::interrupt())?, termination: catch(SignalKind::terminate())? })
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminal.recv() => {}
            _ = self.termination.recv() => {}
        }
    }

    /// Runs a stage of a run. Fails at an interrupt, with the name of the stage.
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

    // Ctrl-C used to be handled only while the schedule ran, and SIGTERM ended the process without
    // results or message.
    #[tokio::test]
    async fn either_signal_interrupts_a_stage_and_names_it() {
        let mut interrupts = Interrupts::catch().expect("they can be caught");
        let connecting = Progress::new("connecting", 100);
        connecting.at(20);
        for name in ["-INT", "-TERM"] {
            let own = std::process::id().to_string();
            let sent = Command::new("kill").args([name, &own]).status().expect("there is kill");
            assert!(sent.success());
            let left = interrupts.unless(&connecting, pending::<Result<()>>()).await;
            let text = left.expect_err("it never ends").to_string();
            assert_eq!(text, "interrupted while connecting, 20 of 100");
        }
        let done = interrupts.unless("resting", async { Ok(7) }).await;
        assert_eq!(done.expect("nobody interrupts it"), 7);
    }
}
