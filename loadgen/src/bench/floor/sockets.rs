//! The sender's sockets: configured as a push node does, with the receiving process at the other
//! end.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::bench::companion::Companion;

/// `push.sessions.send_buffer_bytes` in `src/default.toml`.
const SEND_BUFFER_BYTES: usize = 65_536;

/// The listen backlog: more than are ever opened at once.
const BACKLOG: i32 = 1_024;

/// How long the receiving process may take to open its next connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Open connections to the receiving process.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) streams: Vec<TcpStream>,
    receiver: Companion,
}

impl Sockets {
    /// Starts the receiving process, and waits for its connections.
    pub(crate) fn open(connections: u32) -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(BACKLOG)?;
        // This timeout also applies to accept.
        listener.set_read_timeout(Some(TIMEOUT))?;
        let address = listener.local_addr()?.as_socket().context("an IPv4 socket has an address")?;
        let receiver = Companion::start(
            "receive",
            &[("--address", address.to_string()), ("--connections", connections.to_string())],
        )?;
        let streams = (0..connections)
            .map(|opened| {
                accept(&listener)
                    .with_context(|| format!("{opened} of {connections} connections were opened"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { streams, receiver })
    }

    /// Closes the connections, and checks that every byte the kernel accepted has arrived.
    pub(crate) fn close(self, sent_bytes: u64) -> Result<()> {
        drop(self.streams);
        let received: u64 = self.receiver.finish()?;
        ensure!(received == sent_bytes, "{sent_bytes} bytes were sent, and {received} received");
        Ok(())
    }
}

fn accept(listener: &Socket) -> io::Result<TcpStream> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_send_buffer_is_that_of_a_node() {
        let defaults = include_str!("../../../../src/default.toml");
        assert!(defaults.contains(&format!("\nsend_buffer_bytes = {SEND_BUFFER_BYTES}\n")));
    }
}
