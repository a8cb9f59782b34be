//! The connection that is to take over, from its first attempt until it is the one in use.

use std::{future, pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::{
    Liveness, ReceiveError, Received,
    client::establish::{ConnectError, Established},
};

/// An attempt. It owns what it needs, so that it outlives the session that began it.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Established, ConnectError>> + Send>>;

/// The connection that is to take over.
pub(super) enum Next {
    /// There is none.
    None,
    /// It is being opened.
    Opening(Opening),
    /// It answers.
    Live(Box<Live>),
}

/// A connection whose node answers.
pub(super) struct Live {
    pub(super) established: Established,
    /// `None`: the node announced no heartbeat.
    pub(super) liveness: Option<Liveness>,
}

/// The result of opening the next connection.
pub(super) enum NextEvent {
    Opened(Result<Box<Established>, ConnectError>),
    Received(Result<Received, ReceiveError>),
}

impl Next {
    /// Waits for what comes of it; nothing is read unless `reading`. After `Opened` it has to be replaced.
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

    /// Records a message of the node, or that the client did not read until now.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(now.into_std());
        }
    }

    /// Returns when the node counts as dead if it stays silent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.liveness.map(|liveness| liveness.deadline().into())
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.liveness.is_some_and(|liveness| liveness.is_dead(now.into_std()))
    }
}
