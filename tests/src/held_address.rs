//! An address that stays reserved while a node is restarted.
//!
//! When a node has ended, its port is free for any listener, and for any outgoing connection. A
//! client that retries to reach the node may even get that port as its own, and connects to itself.
//! A socket that is bound and does not listen prevents both, and lets a node listen there.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A loopback address, whose port is reserved for the lifetime of this value.
#[derive(Debug)]
pub struct HeldAddress {
    /// The socket that reserves the port.
    address: SocketAddr,
    /// Two sockets may be bound to a port if both allow it, as a node's does, and neither listens.
    _socket: Socket,
}

impl HeldAddress {
    /// Reserves an address.
    ///
    /// # Panics
    ///
    /// When no port is left.
    pub fn take() -> Self {
        let take = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
            let address = socket.local_addr()?.as_socket().ok_or(std::io::ErrorKind::Unsupported)?;
            Ok::<_, std::io::Error>(Self { address, _socket: socket })
        };
        take().expect("a port of the loopback is free")
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_address_is_listened_at_again_and_is_nobody_elses_meanwhile() {
        // The port of a restarted node was in use: by a listener of another scenario, or by a
        // client's connection to itself.
        let held = HeldAddress::take();
        for _ in 0..2 {
            let listener = TcpListener::bind(held.address()).expect("a node can listen there");
            let _client = TcpStream::connect(held.address()).expect("and is reached");
            drop(listener);
            let refused = TcpStream::connect(held.address()).expect_err("nobody listens there");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        // A socket without that option, like one whose port the kernel assigns.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let taken = other.bind(&held.address().into()).expect_err("it is held");
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    }
}
