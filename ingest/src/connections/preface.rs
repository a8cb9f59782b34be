//! The timeout for the first bytes of a connection.
//!
//! An HTTP/2 client begins with a preface of 24 bytes (RFC 9113, 3.4). The server can send PINGs
//! only after the preface, so without a timeout a silent connection would keep its place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

/// The length of the preface, in bytes.
const LEN: usize = 24;

/// The missing part of a preface, and its timeout.
#[derive(Debug)]
pub(super) struct Preface {
    missing: usize,
    timeout: Pin<Box<Sleep>>,
    within: Duration,
}

impl Preface {
    /// A preface of which nothing has arrived yet.
    pub(super) fn within(within: Duration) -> Self {
        Self { missing: LEN, timeout: Box::pin(tokio::time::sleep(within)), within }
    }

    /// Counts bytes that arrived; hyper checks their content. Returns whether the preface is
    /// complete.
    pub(super) fn is_complete_with(&mut self, arrived: usize) -> bool {
        self.missing = self.missing.saturating_sub(arrived);
        self.missing == 0
    }

    /// Waits for the timeout.
    pub(super) fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.timeout.as_mut().poll(context));
        let message = format!("timeout: no HTTP/2 preface within {:?}", self.within);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, message))
    }
}
