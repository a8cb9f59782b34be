//! The receiving process: opens the connections, reads and discards, and returns the number of
//! received bytes.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result};
use tokio::{io::AsyncReadExt as _, net::TcpStream, runtime::Runtime, task::JoinSet};

use super::Receive;

/// The read size; several deliveries of any shape.
const READ_BYTES: usize = 4_096;

/// Receives until the last connection is closed.
pub(crate) fn receive(runtime: &Runtime, flags: &Receive) -> Result<u64> {
    runtime.block_on(read_all(flags.address, flags.connections))
}

async fn read_all(address: SocketAddr, connections: u32) -> Result<u64> {
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await.context("a connection cannot be opened")?;
        readers.spawn(read(stream));
    }
    let mut bytes = 0;
    while let Some(read) = readers.join_next().await {
        bytes += read?.context("a connection failed")?;
    }
    Ok(bytes)
}

async fn read(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}
