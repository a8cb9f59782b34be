//! The connections that publishers open: accepted up to a bound, counted, and never a reason to stop accepting.
//!
//! A connection over the bound is closed at once, so that its caller tries another node instead of waiting here. Errors of
//! `accept` itself (no file descriptors left) are the listener's to survive.

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

/// Which connections are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// How many at a time.
    pub(crate) connections_max: usize,
    /// How long one may take to begin with HTTP/2.
    pub(crate) preface_deadline: Duration,
}

/// A connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    /// On whose behalf its calls are made.
    principal: Principal,
    /// Until it has arrived.
    preface: Option<Preface>,
    metrics: Arc<Metrics>,
    _place: Place,
}

struct Listening {
    listener: Listener,
    preface_deadline: Duration,
    metrics: Arc<Metrics>,
}

/// Accepts connections for as long as the stream is polled; dropping it closes the listener.
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
        // Answers are small and waited for. A socket that refuses the option is about to fail anyway.
        let _refused = socket.set_nodelay(true);
        self.metrics.connections.inc();
        let preface = Some(Preface::within(self.preface_deadline));
        // Nothing authenticates connections yet.
        let principal = Principal::Anonymous;
        Connection { socket, principal, preface, metrics: Arc::clone(&self.metrics), _place: place }
    }
}

impl Connected for Connection {
    /// tonic puts it into the extensions of each request of the connection, where the gate finds it.
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
            return preface.poll_late(context).map(Err);
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
    async fn a_connection_over_the_bound_is_closed_at_once_and_the_next_one_after_room_is_served() {
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
            // Accepting goes on until there is a connection to serve, which there is not before the first ends.
            let next = accepted.next();
            tokio::pin!(next);
            let end = tokio::select! {
                _ = &mut next => panic!("a connection over the bound was served"),
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
