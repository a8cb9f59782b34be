//! The connection that takes over from the current one.

use std::{future, pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::{
    Liveness, ReceiveError, Received,
    client::establish::{ConnectError, Established},
};

/// An attempt to open a session. It owns its state, so it can outlive the session that started it.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Established, ConnectError>> + Send>>;

/// The connection that takes over from the current one.
pub(super) enum Next {
    /// There is none.
    None,
    /// It is being opened.
    Opening(Opening),
    /// It is open.
    Live(Box<Live>),
}

/// An open session, and whether its node is alive.
pub(super) struct Live {
    pub(super) established: Established,
    /// `None`: the node announced no heartbeats.
    pub(super) liveness: Option<Liveness>,
}

/// An event of the next connection.
pub(super) enum NextEvent {
    Opened(Result<Box<Established>, ConnectError>),
    Received(Result<Received, ReceiveError>),
}

impl Next {
    /// Waits for an event; frames are only read if `reading`. After `Opened` this must be replaced.
    ///
    /// Cancel safe.
    pub(super) async fn event(&mut self, reading: bool) -> NextEvent {
        match self {
            Self::Opening(opening) => NextEvent::Opened(opening.await.map(Box::new)),
            Self::Live(live) if reading => NextEvent::Received(live.established.connection.receive().await),
            Self::Live(_) | Self::None => future::pending().await,
        }
    }
}

impl Live {
    pub(super) fn new(established: Established, now: Instant) -> Self {
        let interval = Duration::from_millis(established.connected.heartbeat_interval_ms.into());
        let liveness = (!interval.is_zero()).then(|| Liveness::new(interval, now.into_std()));
        Self { established, liveness }
    }

    /// Records that a message arrived, or that the client did not read until now.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(now.into_std());
        }
    }

    /// Returns when the node counts as dead if nothing arrives before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.liveness.map(|liveness| liveness.deadline().into())
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.liveness.is_some_and(|liveness| liveness.is_dead(now.into_std()))
    }
}
