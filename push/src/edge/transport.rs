//! The byte stream of a client's connection: TCP, or memory in tests.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::session::Writer;

/// A byte stream to one client.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The half that the session's task reads from.
    type Reader: AsyncRead + Unpin + Send + 'static;
    /// The half that the session's task and the fan-out write to.
    type Writer: Writer;

    /// Returns the address of the client.
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    fn peer(&self) -> io::Result<SocketAddr>;

    /// Splits the stream. Neither half blocks while the other one waits for the client.
    fn split(self) -> (Self::Reader, Self::Writer);
}

impl Transport for TcpStream {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }
}
