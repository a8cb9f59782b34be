//! An address that stays a scenario's own while a node is restarted.
//!
//! A port that was drawn for one node is free for any listener, and for any outgoing connection, as soon as that node has
//! ended. A client that tries again and again to reach a node that is down can even be given its port, and then has reached
//! itself. A socket that is bound and does not listen keeps the port from both, and lets a node listen there.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address of the loopback, with a port that is this scenario's for as long as this lives.
#[derive(Debug)]
pub struct HeldAddress {
    /// Where the port is bound.
    address: SocketAddr,
    /// Two sockets may be bound to a port when both allow it, as a node's does, and no other listens.
    _socket: Socket,
}

impl HeldAddress {
    /// Takes an address.
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
        // A restarted node found its port taken: by a listener of another scenario, or by a client's connection to itself.
        let held = HeldAddress::take();
        for _ in 0..2 {
            let listener = TcpListener::bind(held.address()).expect("a node can listen there");
            let _client = TcpStream::connect(held.address()).expect("and is reached");
            drop(listener);
            let refused = TcpStream::connect(held.address()).expect_err("nobody listens there");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        // One that does not allow others beside it, as the kernel demands of a port that it gives out.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let taken = other.bind(&held.address().into()).expect_err("it is held");
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    }
}
