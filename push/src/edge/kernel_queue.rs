//! Limits on the data that the kernel queues for one client.
//!
//! Queued data can neither be conflated nor dropped, and a slow client is noticed only when the
//! kernel accepts no more. So the queue is kept short in two ways: the unsent data, and the total
//! of unsent and unacknowledged data.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::config::SessionsConfig;

/// Limits the kernel's queue for a connection.
///
/// The socket is then writable while less than `unsent_bytes_max` is unsent. One write may exceed
/// the limit by a segment.
pub(super) fn shorten(stream: &TcpStream, limits: &SessionsConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(limits.send_buffer_bytes)?;
    socket.set_tcp_notsent_lowat(u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::config::tests::defaults;

    /// Writes to a client that does not read until the kernel accepts no more. Returns the bytes
    /// accepted.
    async fn bytes_accepted(limits: &SessionsConfig) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let client = TcpSocket::new_v4().expect("there are sockets left");
        client.set_recv_buffer_size(4_096).expect("the kernel takes a small buffer");
        let address = listener.local_addr().expect("it is bound");
        let (client, accepted) = tokio::join!(client.connect(address), listener.accept());
        let (stream, _) = accepted.expect("the client connects");
        shorten(&stream, limits).expect("the kernel knows these options");
        stream.writable().await.expect("an empty queue takes something");
        let mut bytes_accepted = 0;
        // Only what is accepted at once, as in a flush. An acknowledgement may make room for more
        // later.
        while let Ok(written) = stream.try_write(&[0; 16_384]) {
            bytes_accepted += written;
        }
        drop(client);
        bytes_accepted
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_has_little_in_the_kernel() {
        // With only the send buffer limited, the kernel accepted 100 KB.
        let limits = defaults().sessions;
        let bytes_accepted = bytes_accepted(&limits).await;
        assert!(
            bytes_accepted >= limits.unsent_bytes_max / 2,
            "{bytes_accepted} bytes are not worth a system call"
        );
        assert!(bytes_accepted < 40_000, "{bytes_accepted} bytes can no longer be conflated");
    }
}
