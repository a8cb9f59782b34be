//! Connections of publishers: accepted up to a limit, and counted.
//!
//! A connection over the limit is closed at once, so that its caller tries another node instead of
//! waiting here. The listener handles errors of `accept` itself, such as a lack of file
//! descriptors.

mod preface;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream;
use tailcast_services::{
    listener::{Accepted, AtBound, Limits, Listener, Place},
    principal::Principal,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::server::Connected;

use self::preface::Preface;
use crate::metrics::Metrics;

/// Limits for connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// The maximum number of connections.
    pub(crate) connections_max: usize,
    /// The maximum time until a connection has sent the HTTP/2 preface.
    pub(crate) preface_deadline: Duration,
}

/// A connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    /// The identity of the client, for all calls of the connection.
    principal: Principal,
    /// `None` once the preface has arrived.
    preface: Option<Preface>,
    metrics: Arc<Metrics>,
    _place: Place,
}

struct Listening {
    listener: Listener,
    preface_deadline: Duration,
    metrics: Arc<Metrics>,
}

/// Accepts connections while the stream is polled; dropping the stream closes the listener.
pub(crate) fn accept(
    socket: TcpListener,
    ConnectionLimits { connections_max, preface_deadline }: ConnectionLimits,
    metrics: Arc<Metrics>,
) -> impl stream::Stream<Item = io::Result<Connection>> {
    let limits = Limits { places_max: connections_max, at_bound: AtBound::Refuse };
    let listener = Listener::new("ingest", socket, limits, metrics.accept.clone());
    let listening = Listening { listener, preface_deadline, metrics };
    stream::unfold(listening, |mut listening| async { Some((Ok(listening.next().await), listening)) })
}

impl Listening {
    async fn next(&mut self) -> Connection {
        let Accepted { stream: socket, place, .. } = self.listener.accept().await;
        // Responses are small and urgent. A socket that rejects the option is about to fail anyway.
        let _refused = socket.set_nodelay(true);
        self.metrics.connections.inc();
        let preface = Some(Preface::within(self.preface_deadline));
        // Nothing authenticates connections yet.
        let principal = Principal::Anonymous;
        Connection { socket, principal, preface, metrics: Arc::clone(&self.metrics), _place: place }
    }
}

impl Connected for Connection {
    /// tonic puts it into the extensions of each request of the connection, where the gate finds
    /// it.
    type ConnectInfo = Principal;

    fn connect_info(&self) -> Principal {
        self.principal.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        let Some(preface) = &mut self.preface else { return read };
        if preface.is_complete_with(buffer.filled().len() - before) {
            self.preface = None;
        } else if read.is_pending() {
            return preface.poll_timeout(context).map(Err);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed_at_once_and_a_later_one_is_served() {
        let metrics = Arc::<Metrics>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connection_limits =
            ConnectionLimits { connections_max: 1, preface_deadline: Duration::from_secs(5) };
        let mut accepted = Box::pin(accept(listener, connection_limits, Arc::clone(&metrics)));

        let _first = TcpStream::connect(address).await.expect("it listens");
        let held = accepted.next().await;
        let mut second = TcpStream::connect(address).await.expect("it listens");
        let mut byte = [0];
        let (end, third) = {
            // The listener keeps accepting until it has a connection to serve, which requires that
            // the first one ends.
            let next = accepted.next();
            tokio::pin!(next);
            let end = tokio::select! {
                _ = &mut next => panic!("a connection over the limit was served"),
                end = second.read(&mut byte) => end,
            };
            assert_eq!(metrics.accept.refused.get(), 1);
            drop(held);
            let _third = TcpStream::connect(address).await.expect("it listens");
            (end, next.await)
        };
        assert!(matches!(end, Ok(0)), "{end:?}");
        assert_eq!(metrics.connections.get(), 1);
        drop(third);
        assert_eq!(metrics.connections.get(), 0);
    }
}
