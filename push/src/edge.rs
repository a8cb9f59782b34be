//! The listener, and the path of a connection from its first byte to its session.
//!
//! Connections are limited twice: as handshakes while they speak HTTP, and as sessions once they
//! are WebSockets. At the handshake limit, the oldest connection that has sent nothing is closed;
//! if there is none, the listener stops accepting. At the session limit, and above the memory
//! limit, an upgrade is answered with 503.

mod fallback;
mod kernel_queue;
mod refused_origins;
mod transport;
mod upgrade;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fastwebsockets::upgrade::UpgradeFut;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tailcast_proto::delivery::Format;
use tailcast_services::{
    lifecycle::Hold,
    listener::{AcceptMetrics, Accepted, AtBound, Limits, Listener},
    principal::Principal,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};

pub use self::fallback::HttpFallback;
use self::{
    refused_origins::RefusedOrigins,
    transport::Transport,
    upgrade::{UpgradeError, check_upgrade},
};
use crate::{
    config::Config,
    metrics::GaugeGuard,
    session::{CloseReason, Sessions, Writer, websocket},
};

/// The listener and the state that its connections share.
#[derive(Clone)]
pub(crate) struct Server {
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    fallback: Option<Arc<dyn HttpFallback>>,
    session_places: Arc<Semaphore>,
    next_session: Arc<AtomicU64>,
    refused_origins: Arc<RefusedOrigins>,
}

/// The path of the WebSocket.
pub(crate) const PATH: &str = "/v1/connect";
/// Timeout for a request's head, and for everything before the upgrade in total.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for answering a request that was in progress when the process began to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size of a request's head. Browsers send one or two kilobytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Timeout for the client's part of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Server {
    pub(crate) fn new(
        config: Arc<Config>,
        sessions: Arc<Sessions>,
        fallback: Option<Arc<dyn HttpFallback>>,
    ) -> Self {
        let limits = &config.sessions;
        Self {
            session_places: Arc::new(Semaphore::new(limits.count_max.min(Semaphore::MAX_PERMITS))),
            next_session: Arc::new(AtomicU64::new(1)),
            refused_origins: Arc::default(),
            config,
            sessions,
            fallback,
        }
    }

    /// Accepts connections until the process drains.
    pub(crate) async fn run(self, socket: TcpListener) -> Result<(), Infallible> {
        let refused = |reason| self.sessions.metrics.refused.get_or_create(&[("reason", reason)]).clone();
        let metrics = AcceptMetrics {
            failed: refused("accept"),
            evicted: refused("silent"),
            ..AcceptMetrics::default()
        };
        let places_max = self.config.sessions.handshakes_max;
        let limits = Limits { places_max, at_bound: AtBound::Evict };
        let mut listener = Listener::new("push", socket, limits, metrics);
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.sessions.lifecycle.draining() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match kernel_queue::shorten(&accepted.stream, &self.config.sessions) {
                Ok(()) => {
                    self.sessions.lifecycle.spawn("connection", self.clone().serve_http(accepted));
                }
                // The client has disconnected, or is about to.
                Err(error) => tracing::debug!(%error, "cannot set the socket options of a connection"),
            }
        }
    }

    async fn serve_http(self, accepted: Accepted) {
        let lifecycle = self.sessions.lifecycle.clone();
        let Accepted { stream, mut place, .. } = accepted;
        let connection = async {
            match place.first_byte(&stream, HTTP_TIMEOUT).await {
                Ok(()) => self.serve_stream(stream).await,
                Err(error) => tracing::debug!(%error, "connection closed before its upgrade"),
            }
        };
        let mut connection = pin!(connection);
        let in_time = tokio::select! {
            in_time = tokio::time::timeout(HTTP_TIMEOUT, connection.as_mut()) => in_time,
            () = lifecycle.draining() => {
                // Not hyper's graceful shutdown, which closes a connection whose request has not
                // been read yet.
                tokio::time::timeout(DRAIN_TIMEOUT, connection).await
            }
        };
        if in_time.is_err() {
            tracing::debug!("connection timed out before its upgrade");
        }
    }

    /// Answers HTTP requests on a stream until it ends or is upgraded.
    async fn serve_stream<T: Transport>(&self, stream: T) {
        let service = service_fn(|request| self.answer::<T>(request));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HTTP_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "connection failed before its upgrade");
        }
    }

    async fn answer<T: Transport>(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() != PATH {
            return Ok(match &self.fallback {
                Some(fallback) => fallback.answer(request).await,
                None => text(StatusCode::NOT_FOUND, format!("WebSocket clients connect to {PATH}\n")),
            });
        }
        // As long as it is held, the feed and the fan-out keep running: until the session ends.
        let Some(hold) = self.sessions.lifecycle.hold() else {
            return Ok(self.refuse(UpgradeError::Draining));
        };
        let format = match check_upgrade(&request, &self.config.origins) {
            Ok(format) => format,
            Err(error) => {
                let origin = request.headers().get(header::ORIGIN);
                if let Some(origin) = origin.filter(|_| error == UpgradeError::Origin) {
                    self.refused_origins.report(origin.as_bytes());
                }
                return Ok(self.refuse(error));
            }
        };
        if self.sessions.admission.is_closed() {
            return Ok(self.refuse(UpgradeError::Memory));
        }
        let Ok(session) = Arc::clone(&self.session_places).try_acquire_owned() else {
            return Ok(self.refuse(UpgradeError::Full));
        };
        let Ok((switching, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
            return Ok(self.refuse(UpgradeError::Handshake));
        };
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let counted = GaugeGuard::new(&self.sessions.metrics.sessions);
        // Clients are not authenticated yet.
        let client = (id, Principal::Anonymous);
        let session = self.clone().serve_session::<T>(client, format, upgraded, (session, counted, hold));
        // Boxed, because a task stores its future twice: as passed and as polled.
        self.sessions.lifecycle.spawn("session", Box::pin(session));

        let mut response = switching.map(|_| Full::default());
        if let Some(format) = format {
            let chosen = http::HeaderValue::from_static(upgrade::subprotocol(format));
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        Ok(response)
    }

    async fn serve_session<T: Transport>(
        self,
        (id, principal): (u64, Principal),
        format: Option<Format>,
        upgraded: UpgradeFut,
        held: (OwnedSemaphorePermit, GaugeGuard, Hold),
    ) {
        let Ok(upgraded) = upgraded.await else { return };
        let upgraded = upgraded.into_inner().into_inner();
        let Ok(parts) = upgraded.downcast::<TokioIo<T>>() else {
            tracing::error!("upgraded connection has an unexpected stream type");
            return;
        };
        // Copied, because even an empty slice would keep hyper's read buffer for the life of the
        // session.
        let prefix = io::Cursor::new(Bytes::copy_from_slice(&parts.read_buf));
        drop(parts.read_buf);
        let stream = parts.io.into_inner();
        tracing::debug!(session = id, peer = ?stream.peer().ok(), "session opened");
        let (reader, writer) = stream.split();
        let reader = prefix.chain(reader);

        let metrics = &self.sessions.metrics;
        let (reason, reader) = match format {
            Some(format) => {
                let session = self.sessions.open((id, principal), format, writer);
                Box::new(session).run(reader, &self.sessions).await
            }
            None => refuse_subprotocol(reader, writer).await,
        };
        // Only if the close frame was written: otherwise there is nothing that a reset could
        // destroy.
        if let Some(reader) = reader {
            discard_until_end(reader).await;
        }
        metrics.closes.get_or_create(&[("code", reason.label())]).inc();
        tracing::debug!(session = id, ?reason, "session closed");
        drop(held);
    }

    fn refuse(&self, error: UpgradeError) -> Response<Full<Bytes>> {
        self.sessions.metrics.refused.get_or_create(&[("reason", error.label())]).inc();
        error.response()
    }
}

/// Closes a WebSocket whose client offered no known subprotocol. RFC 6455 has no way to give the
/// reason in the handshake.
async fn refuse_subprotocol<R>(reader: R, mut writer: impl Writer) -> (CloseReason, Option<R>) {
    let reason = CloseReason::Subprotocol;
    let frame = websocket::close(reason.code(), &reason.text());
    let write = async {
        writer.write_all(&frame).await?;
        writer.shutdown().await
    };
    // A client that does not accept these few bytes is gone.
    let written = tokio::time::timeout(CLOSE_TIMEOUT, write).await;
    (reason, matches!(written, Ok(Ok(()))).then_some(reader))
}

/// Reads until the client closes, and discards the data. Closing a socket with unread data resets
/// the connection, and the reset can overtake the close frame.
async fn discard_until_end(mut reader: impl AsyncRead + Unpin) {
    let to_the_end = poll_fn(|context| {
        loop {
            // Inside the closure, because anything that lives across the wait enlarges the future
            // of every session.
            let mut space = [0; 512];
            let mut ignored = ReadBuf::new(&mut space);
            if ready!(Pin::new(&mut reader).poll_read(context, &mut ignored)).is_err()
                || ignored.filled().is_empty()
            {
                return Poll::Ready(());
            }
        }
    });
    drop(tokio::time::timeout(CLOSE_TIMEOUT, to_the_end).await);
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into())));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests;
