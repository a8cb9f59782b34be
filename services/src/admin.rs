//! The listener for probes, scrapers and people: `/livez`, `/readyz`, `/metrics`.
//!
//! It has a port of its own, so that it is never exposed with the service, and it answers until the last task has ended:
//! a process that drains says so.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections, one request each, [`EXCHANGE_MAX`] from the first byte to the last. More
//! connections wait in the kernel's queue.

mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;
use crate::readiness::Readiness;
use routes::Routes;

/// Connections served at once: probes and two scrapers need four.
pub const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send its request's head.
const HEADERS_MAX: Duration = Duration::from_secs(5);
/// How long one exchange may take, a slow reader included.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed `accept`, so that a process without free descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Section `[admin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Why the admin listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {listen}: {source}")]
pub struct BindError {
    /// The address that was asked for.
    pub listen: SocketAddr,
    /// What the operating system says.
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
    /// When the address is in use, not ours, or needs a privilege.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let failed = |source| BindError { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address in use; tells the port when the configured one was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until everything else in the process has ended.
    pub fn serve(self, lifecycle: &Lifecycle, readiness: Readiness, registry: Arc<Registry>) {
        let routes = Arc::new(Routes::new(lifecycle.clone(), readiness, registry));
        lifecycle.accompany(|ended| accept(self.listener, routes, ended));
    }
}

async fn accept(listener: TcpListener, routes: Arc<Routes>, ended: CancellationToken) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let serve = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(exchange(stream, Arc::clone(&routes), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "an admin connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = ended.cancelled() => {}
    }
    connections.close();
    connections.wait().await;
}

async fn exchange(stream: TcpStream, routes: Arc<Routes>, _permit: OwnedSemaphorePermit) {
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
        Err(_) => tracing::debug!("an admin connection was too slow"),
    }
}

#[cfg(test)]
mod tests;
