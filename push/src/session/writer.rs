//! What a session writes to: a byte stream that is written without waiting, and flushed.

use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};

/// The sending half of a client's connection.
///
/// A write that is accepted may still be held by the stream itself, as TLS does with records that
/// the socket has not taken. Such a stream's `poll_flush` is pending until it holds nothing, and
/// has to be polled again.
pub(crate) trait Writer: AsyncWrite + Unpin + Send + 'static {
    /// Returns how many bytes the stream holds that the kernel has not taken. They count as waiting
    /// for the client.
    fn buffered(&self) -> usize;
}

impl Writer for OwnedWriteHalf {
    fn buffered(&self) -> usize {
        0
    }
}
