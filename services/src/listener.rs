//! Accepting connections: written once for push, ingest and admin.
//!
//! A listener has a limited number of places. The service keeps a [`Place`] for as long as the
//! connection counts: push until the upgrade, ingest and admin until its end. The service chooses
//! what happens at the limit ([`AtBound`]); the rules are plain code in `places`.
//!
//! `accept` never fails. A connection that its client closed in the queue is skipped. When the
//! process or the system is out of file descriptors or memory, accepting pauses, and at most one
//! line per period is logged.
//!
//! Invariant: a connection is evicted only while its owner has read nothing from it.

mod places;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::places::{Id, Places, Verdict};

/// Connections that the kernel completes and queues until they are accepted. With the usual 128,
/// the kernel drops SYNs when a fleet reconnects at once, and clients retransmit them only after a
/// second or more. The kernel caps it at `somaxconn`.
pub const BACKLOG: u32 = 4096;
/// Pause after an error that concerns the process. File descriptors become free when connections
/// end.
const PAUSE: Duration = Duration::from_millis(50);
/// At most one line about failed accepts is logged in each period.
const LOG_PERIOD: Duration = Duration::from_secs(30);

/// The treatment of new connections at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBound {
    /// The oldest connection that has sent nothing is closed, and the new one takes its place. If
    /// each has sent something, new connections wait in the kernel's queue.
    Evict,
    /// The new connection is closed at once, so that its caller tries another node.
    Refuse,
}

/// The limit of connections, and the treatment of new ones at the limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of connections.
    pub places_max: usize,
    /// The treatment of new connections at the limit.
    pub at_bound: AtBound,
}

/// Counters of a listener. The service registers those that it wants, under names of its own.
#[derive(Clone, Debug, Default)]
pub struct AcceptMetrics {
    /// Accepts that failed for lack of file descriptors or memory.
    pub failed: Counter,
    /// New connections closed at once at the limit.
    pub refused: Counter,
    /// Silent connections closed to make room.
    pub evicted: Counter,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    limits: Limits,
    metrics: AcceptMetrics,
    shared: Arc<PlaceTable>,
    /// A connection that waits for a place.
    pending: Option<(TcpStream, SocketAddr)>,
    failures: Failures,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Its place.
    pub place: Place,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    id: Id,
    has_spoken: bool,
    evicted: CancellationToken,
    shared: Arc<PlaceTable>,
}

/// Why a connection is closed before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    /// It makes room for another connection.
    #[error("connection limit reached: the oldest silent connection was closed")]
    Evicted,
    /// Nothing arrived in time.
    #[error("timeout: the client sent nothing")]
    Late,
}

#[derive(Debug)]
struct PlaceTable {
    places: Mutex<Places<CancellationToken>>,
    /// Notified when a place becomes free.
    freed: Notify,
}

/// The failures since the last line about them.
#[derive(Debug, Default)]
struct Failures {
    logged_at: Option<Instant>,
    unlogged: u64,
}

/// Binds an address for a [`Listener`], with room in its backlog for a reconnect storm.
///
/// # Errors
///
/// When the address is in use, not of this host, or needs a privilege.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// Accepts from a bound socket. `name` is the listener's name in the log, such as `push`.
    #[must_use]
    pub fn new(name: &'static str, socket: TcpListener, limits: Limits, metrics: AcceptMetrics) -> Self {
        let shared = PlaceTable { places: Mutex::new(Places::new(limits.places_max)), freed: Notify::new() };
        Self {
            name,
            socket,
            limits,
            metrics,
            shared: Arc::new(shared),
            pending: None,
            failures: Failures::default(),
        }
    }

    /// Returns the next connection that has a place. Cancel safe.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            if self.pending.is_none() {
                self.pending = Some(self.next().await);
                if self.limits.at_bound == AtBound::Evict && self.shared.places().is_full() {
                    // Lets connections notice bytes that have arrived, so that none of those is
                    // evicted.
                    tokio::task::yield_now().await;
                }
            }
            let Some((stream, peer)) = self.pending.take() else { continue };
            if let Some(place) = self.admit() {
                return Accepted { stream, peer, place };
            }
            match self.limits.at_bound {
                AtBound::Refuse => {
                    self.metrics.refused.inc();
                }
                AtBound::Evict => {
                    // It waits here, and later connections wait in the kernel's queue.
                    self.pending = Some((stream, peer));
                    self.shared.freed.notified().await;
                }
            }
        }
    }

    /// Returns the next connection from the kernel's queue. Cancel safe.
    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    self.metrics.failed.inc();
                    self.failures.log(self.name, &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Returns the place of a new connection, if it gets one.
    fn admit(&self) -> Option<Place> {
        let evicted = CancellationToken::new();
        let mut places = self.shared.places();
        let id = match places.enter(self.limits.at_bound, evicted.clone()) {
            Verdict::Admitted(id) => id,
            Verdict::AdmittedInsteadOf(id, other) => {
                self.metrics.evicted.inc();
                other.cancel();
                id
            }
            Verdict::Refused => return None,
        };
        drop(places);
        Some(Place { id, has_spoken: false, evicted, shared: Arc::clone(&self.shared) })
    }
}

impl Place {
    /// Waits for the first byte, and reads nothing. From then on the connection keeps its place.
    ///
    /// # Errors
    ///
    /// When it must make room, or nothing arrives within `deadline`: close it. Errors of the socket
    /// are left to the first read.
    pub async fn first_byte(&mut self, stream: &TcpStream, deadline: Duration) -> Result<(), Silent> {
        let mut byte = [0];
        tokio::select! {
            biased;
            () = self.evicted.cancelled() => Err(Silent::Evicted),
            // `readable` may be ready while there is nothing to read; a peek is not.
            _ = stream.peek(&mut byte) => {
                // Between the two, the listener may have chosen this connection.
                self.has_spoken = self.shared.places().speaks(self.id);
                if self.has_spoken { Ok(()) } else { Err(Silent::Evicted) }
            }
            () = tokio::time::sleep(deadline) => Err(Silent::Late),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.places().leave(self.id, self.has_spoken);
        self.shared.freed.notify_one();
    }
}

impl PlaceTable {
    fn places(&self) -> MutexGuard<'_, Places<CancellationToken>> {
        // Every method leaves the table consistent, even if a caller panics.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn log(&mut self, listener: &'static str, error: &io::Error) {
        let now = Instant::now();
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < LOG_PERIOD) {
            self.unlogged += 1;
            return;
        }
        self.logged_at = Some(now);
        let suppressed = std::mem::take(&mut self.unlogged);
        tracing::warn!(listener, %error, suppressed, "cannot accept connections, retrying");
    }
}

/// Returns whether an error of `accept` concerns only the next connection, so that no pause is
/// needed (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
