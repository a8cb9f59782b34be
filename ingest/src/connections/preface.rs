//! The first bytes of a connection, which have to come soon.
//!
//! A client of HTTP/2 begins with 24 bytes that say so (RFC 9113, 3.4). Only behind them can the server ask whether the
//! client is there, so a connection that never sends them would keep its place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

/// How long the preface is, in bytes.
const LEN: usize = 24;

/// What of a preface is still to come, and by when.
#[derive(Debug)]
pub(super) struct Preface {
    missing: usize,
    late: Pin<Box<Sleep>>,
    within: Duration,
}

impl Preface {
    /// A preface of which nothing has arrived.
    pub(super) fn within(within: Duration) -> Self {
        Self { missing: LEN, late: Box::pin(tokio::time::sleep(within)), within }
    }

    /// Notes that so many bytes arrived. What they are is for HTTP/2 to judge.
    pub(super) fn is_complete_with(&mut self, arrived: usize) -> bool {
        self.missing = self.missing.saturating_sub(arrived);
        self.missing == 0
    }

    /// Waits until it is too late for the rest.
    pub(super) fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.late.as_mut().poll(context));
        let said = format!("the preface of HTTP/2 had not arrived within {:?}", self.within);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, said))
    }
}
