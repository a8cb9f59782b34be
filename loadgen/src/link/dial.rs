//! The TCP connection of a link: from a chosen source address, and for a slow client with a small
//! window.

use std::{io, net::SocketAddr};

use socket2::SockRef;
use tailcast_client::Endpoint;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::LinkOptions;

/// The largest segment that a slow client accepts, in bytes: Ethernet's.
///
/// Loopback's segments have 64 KB. A sender whose segments do not fit into the window waits for its
/// zero-window timer: after a silence as long as the first, and then it sends 2 KB every 200 ms,
/// for as long as the connection lasts.
const SEGMENT_BYTES: u32 = 1460;

/// Connects to the first address that answers.
pub(super) async fn dial(endpoint: &Endpoint, options: LinkOptions) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in lookup_host((endpoint.host(), endpoint.port())).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = options.receive_buffer {
            // Before connecting, because window and segment size are negotiated then.
            socket.set_recv_buffer_size(bytes)?;
            SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
        }
        if let Some(source) = options.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use tailcast_client::Subprotocol;
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the segment size for a client with this receive buffer, in bytes.
    async fn segment_bytes(receive_buffer: Option<u32>) -> u32 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let endpoint = format!("ws://{address}").parse().expect("it is an endpoint");
        let options = LinkOptions { subprotocol: Subprotocol::Proto, source: None, receive_buffer };
        let (client, accepted) = tokio::join!(dial(&endpoint, options), listener.accept());
        client.expect("somebody listens");
        let (stream, _) = accepted.expect("somebody connects");
        SockRef::from(&stream).tcp_mss().expect("the kernel knows them")
    }

    #[tokio::test]
    async fn a_slow_client_gets_segments_that_fit_into_its_window() {
        // Some slow clients continued at 11 KB/s after their pause for good, and records that did
        // not arrive in time counted as lost.
        assert!(segment_bytes(Some(4096)).await <= SEGMENT_BYTES);
        assert!(segment_bytes(None).await > SEGMENT_BYTES, "others take what loopback has");
    }
}
