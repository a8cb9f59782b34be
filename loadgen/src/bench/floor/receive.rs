//! The receiving process: opens the connections, reads and discards, and says at the end how many bytes came.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use anyhow::{Context as _, Result};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};

use super::cli::Receive;

/// What a connection reads at once; some deliveries of every shape.
const READ_BYTES: usize = 4_096;

/// Receives until the last connection is closed.
pub(crate) fn run(receive: &Receive) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let bytes = runtime.block_on(read_all(receive.address, receive.connections))?;
    writeln!(io::stdout(), "{bytes}").context("nobody listens")
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
