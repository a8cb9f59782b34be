//! How much the kernel may hold for one client.
//!
//! What the kernel has taken can neither be conflated nor be forgotten, and a slow client is noticed only when the kernel
//! takes no more. So its queue is short, in two ways: what is not sent yet, and that together with what is sent and not
//! acknowledged.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::config::SessionsConfig;

/// Keeps the kernel's queue for a connection short.
///
/// The socket then counts as writable while less than `unsent_bytes_max` of it waits to be sent: one write may go beyond by
/// what fits into a segment.
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

    /// Writes to a client that reads nothing until the kernel takes no more. Returns what it took, in bytes.
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
        // What fits at once, as a flush does. A client's acknowledgement may make room for a little more later.
        while let Ok(written) = stream.try_write(&[0; 16_384]) {
            bytes_accepted += written;
        }
        drop(client);
        bytes_accepted
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_has_little_in_the_kernel() {
        // With the send buffer's bound alone, the kernel took 100 KB.
        let limits = defaults().sessions;
        let bytes_accepted = bytes_accepted(&limits).await;
        assert!(
            bytes_accepted >= limits.unsent_bytes_max / 2,
            "{bytes_accepted} bytes are not worth a system call"
        );
        assert!(bytes_accepted < 40_000, "{bytes_accepted} bytes can no longer be conflated");
    }
}
