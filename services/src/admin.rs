//! The listener for probes, scrapers and people: `/livez`, `/readyz`, `/metrics`.
//!
//! It has a port of its own, so that it is not exposed together with the service. It answers until
//! the last task has ended, so that `/readyz` can report that the process is draining.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections, one request each, [`EXCHANGE_MAX`] from the first byte
//! to the last. At the bound the oldest connection that has sent nothing makes room, so that silent
//! clients do not fail a probe; if there is none, more connections wait in the kernel's queue.

mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;
use crate::listener::{self, AcceptMetrics, Accepted, AtBound, Limits, Listener};
use crate::readiness::Readiness;
use routes::Routes;

/// Connections served at once: probes and two scrapers need four.
pub const CONNECTIONS_MAX: usize = 32;
/// Maximum time to the first byte of a request, and from there to the end of its head.
const HEADERS_MAX: Duration = Duration::from_secs(5);
/// Maximum time of one exchange, including a slow reader.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(10);

/// Section `[admin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address of the listener.
    #[serde(deserialize_with = "crate::config::address")]
    pub listen: SocketAddr,
}

/// Why the admin listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {listen}: {source}")]
pub struct BindError {
    /// The configured address.
    pub listen: SocketAddr,
    /// The operating system's error.
    pub source: std::io::Error,
}

/// The opened listener, not serving yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Opens the listener.
    ///
    /// # Errors
    /// When the address is in use, does not belong to this host, or needs a privilege.
    #[expect(clippy::unused_async, reason = "a socket needs tokio's runtime, and an async function has one")]
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let failed = |source| BindError { listen: config.listen, source };
        let listener = listener::bind(config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address in use; with the port that the system chose when port 0 was configured.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until everything else in the process has ended.
    pub fn serve(self, lifecycle: &Lifecycle, readiness: Readiness, registry: Arc<Registry>) {
        let routes = Arc::new(Routes::new(lifecycle.clone(), readiness, registry));
        lifecycle.accompany(|ended| accept(self.listener, routes, ended));
    }
}

async fn accept(socket: TcpListener, routes: Arc<Routes>, ended: CancellationToken) {
    let connections = TaskTracker::new();
    let limits = Limits { places_max: CONNECTIONS_MAX, at_bound: AtBound::Evict };
    let mut listener = Listener::new("admin", socket, limits, AcceptMetrics::default());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(exchange(accepted, Arc::clone(&routes)));
            }
            () = ended.cancelled() => break,
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn exchange(accepted: Accepted, routes: Arc<Routes>) {
    let Accepted { stream, mut place, .. } = accepted;
    if let Err(error) = place.first_byte(&stream, HEADERS_MAX).await {
        tracing::debug!(%error, "an admin connection was closed");
        return;
    }
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let response = routes.answer(request.method(), request.uri().path(), request.headers());
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(EXCHANGE_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection timed out"),
    }
}

#[cfg(test)]
mod tests;
