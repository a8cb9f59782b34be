//! The two signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (from the supervisor) and SIGINT (from the terminal). Both begin to drain.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers: the signals no longer kill the process by themselves.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them. Cancel safe.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for the next signal if signals were installed, else for ever.
pub(super) async fn next(signals: Option<Signals>) {
    match signals {
        Some(mut signals) => {
            let signal = signals.next().await;
            tracing::warn!(signal, "second signal: ending without waiting for the remaining tasks");
        }
        None => std::future::pending().await,
    }
}
