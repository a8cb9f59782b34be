//! The whole edge over streams other than TCP: from the first byte of a handshake to the end of the
//! closing handshake.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::AtomicUsize,
    task::Context,
};

use prometheus_client::registry::Registry;
use tailcast_services::{kafka::Settings, lifecycle::Lifecycle, readiness::Readiness, topics::Epochs};
use tokio::{
    io::{AsyncWrite, DuplexStream, ReadHalf, WriteHalf},
    net::TcpStream,
};

use super::*;
use crate::{config::tests::defaults, push::Push};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A stream in memory that buffers data until it is flushed, as TLS does. Each flush is pending
/// once before it completes.
struct BufferedStream {
    stream: DuplexStream,
    buffer: Vec<u8>,
    is_flushing: bool,
    /// Number of buffered bytes, shared with the writer.
    count: Arc<AtomicUsize>,
}

struct BufferedWriter {
    stream: WriteHalf<BufferedStream>,
    count: Arc<AtomicUsize>,
}

impl AsyncRead for BufferedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for BufferedStream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.buffer.extend_from_slice(bytes);
        self.count.store(self.buffer.len(), Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.buffer.is_empty() && !self.is_flushing {
            self.is_flushing = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_flushing = false;
        let Self { stream, buffer, count, .. } = &mut *self;
        while !buffer.is_empty() {
            let taken = ready!(Pin::new(&mut *stream).poll_write(context, buffer))?;
            buffer.drain(..taken);
            count.store(buffer.len(), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Transport for BufferedStream {
    type Reader = ReadHalf<Self>;
    type Writer = BufferedWriter;

    fn peer(&self) -> io::Result<SocketAddr> {
        Ok(PEER)
    }

    fn split(self) -> (ReadHalf<Self>, BufferedWriter) {
        let count = Arc::clone(&self.count);
        let (reader, stream) = tokio::io::split(self);
        (reader, BufferedWriter { stream, count })
    }
}

impl AsyncWrite for BufferedWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Writer for BufferedWriter {
    fn buffered(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Transport for DuplexStream {
    type Reader = ReadHalf<Self>;
    type Writer = WriteHalf<Self>;

    fn peer(&self) -> io::Result<SocketAddr> {
        Ok(PEER)
    }

    fn split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        tokio::io::split(self)
    }
}

impl Writer for WriteHalf<DuplexStream> {
    fn buffered(&self) -> usize {
        0
    }
}

#[tokio::test]
async fn a_session_is_served_over_memory() {
    let (client, stream) = tokio::io::duplex(64 * 1024);
    converse(client, stream).await;
}

#[tokio::test]
async fn a_session_is_served_over_memory_that_accepts_seven_bytes_at_a_time() {
    let (client, stream) = tokio::io::duplex(7);
    converse(client, stream).await;
}

#[tokio::test]
async fn a_session_is_served_over_a_stream_that_buffers_until_it_is_flushed() {
    // A flush that was pending when everything was written was not polled again, so the last
    // message stayed in the buffer.
    let (client, stream) = tokio::io::duplex(64 * 1024);
    let buffer = BufferedStream { stream, buffer: Vec::new(), is_flushing: false, count: Arc::default() };
    converse(client, buffer).await;
}

/// A handshake with a pipelined command, its reply, a ping, and the closing handshake.
async fn converse(client: DuplexStream, stream: impl Transport) {
    let (server, lifecycle) = server().await;
    lifecycle.spawn("connection", async move { server.serve_stream(stream).await });

    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: tailcast.v1.json\r\n\r\n"
    );
    let mut sent = request.into_bytes();
    sent.extend(masked(0x81, br#"{"id":1,"connect":{}}"#));
    let (mut reading, mut writing) = tokio::io::split(client);
    let mut received = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), async {
        exchange(&mut writing, &sent, &mut reading, &mut received, b"HTTP/1.1 101").await;
        read_until(&mut reading, &mut received, b"\"connected\"").await;
        exchange(&mut writing, &masked(0x89, b"here?"), &mut reading, &mut received, b"\x8a\x05here?").await;
        let close = masked(0x88, &1000_u16.to_be_bytes());
        exchange(&mut writing, &close, &mut reading, &mut received, b"\x88\x02\x03\xe8").await;
        writing.shutdown().await.expect("it ends");
        reading.read_to_end(&mut received).await.expect("the node ends too");
    })
    .await
    .unwrap_or_else(|_| panic!("nothing more after {:?}", String::from_utf8_lossy(&received)));
    lifecycle.drain();
}

/// Writes and reads concurrently, because the node may write before it has read everything.
async fn exchange(
    writing: &mut WriteHalf<DuplexStream>,
    sent: &[u8],
    reading: &mut ReadHalf<DuplexStream>,
    received: &mut Vec<u8>,
    expected: &[u8],
) {
    let mut write = pin!(writing.write_all(sent));
    let mut is_written = false;
    while !is_written || !has(received, expected) {
        tokio::select! {
            written = &mut write, if !is_written => {
                written.expect("the node reads");
                is_written = true;
            }
            read = reading.read_buf(received) => assert_ne!(read.expect("the connection stays"), 0),
        }
    }
}

async fn read_until(client: &mut ReadHalf<DuplexStream>, received: &mut Vec<u8>, expected: &[u8]) {
    while !has(received, expected) {
        let read = client.read_buf(received).await.expect("the connection stays");
        assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(received));
    }
}

fn has(received: &[u8], expected: &[u8]) -> bool {
    received.windows(expected.len()).any(|window| window == expected)
}

/// A client's frame, masked with zeros.
fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    let mut frame = vec![head, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// A server of a node whose Kafka is unreachable.
async fn server() -> (Server, Lifecycle) {
    let mut config = defaults();
    config.listen.set_port(0);
    let (lifecycle, readiness, mut registry) = (Lifecycle::new(), Readiness::new(), Registry::default());
    let nowhere = Settings::at("127.0.0.1:1");
    let push = Push::bind(config, nowhere, Epochs::Kafka, &lifecycle, &readiness, &mut registry);
    let push = push.await.expect("loopback has a port and the system has threads");
    let (config, sessions) = push.into_parts();
    (Server::new(config, sessions, None), lifecycle)
}

/// Returns the size of a function's result.
fn size_given<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn the_future_of_a_session_is_small() {
    // The future had 2,440 bytes: two copies of the session, and a buffer used only at its end.
    let size = size_given(Server::serve_session::<TcpStream>);
    assert!(size <= 1024, "{size} bytes");
}
