//! From one session to the next: to another node when this one drains, and back after any other
//! end.

use std::{future::pending, sync::Arc, time::Duration};

use tailcast_client::{Backoff, Verdict};
use tailcast_proto::push::v1::{ClientMessage, Connect, client_message::Command};
use tokio::time::{sleep, sleep_until, timeout};

use super::{Channel, Reader, SessionEnd, Stage, TIMEOUT};
use crate::link::{Link, LinkError};

/// The backoff of a reconnecting client: the Rust client's.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));

impl Reader {
    /// Connects to the next node, while still receiving from this one.
    pub(super) async fn move_to_next_node(
        &mut self,
        link: Link,
        after: Duration,
    ) -> Result<Link, SessionEnd> {
        let (shared, number, node) = (Arc::clone(&self.shared), self.number, self.node + 1);
        let mut opening = Box::pin(async move {
            sleep(after).await;
            Link::open(shared.endpoint(node), shared.options(number, node)).await
        });
        let mut old = Some(link);
        loop {
            tokio::select! {
                opened = &mut opening => {
                    self.node = node;
                    self.findings.moves += u64::from(old.is_some());
                    if let Some(old) = old {
                        old.leave().await;
                    }
                    return self.begin(opened?).await;
                }
                end = self.receive_from(&mut old), if old.is_some() => {
                    // A second Goaway changes nothing; anything else is the end of the old session.
                    if let SessionEnd::Link(error) = end {
                        self.count(&error);
                        old = None;
                    }
                }
            }
        }
    }

    async fn receive_from(&mut self, link: &mut Option<Link>) -> SessionEnd {
        match link {
            Some(link) => self.receive(link).await,
            None => pending().await,
        }
    }

    /// Opens the next session, with as many attempts as it takes. Returns an error if retrying is
    /// pointless.
    pub(super) async fn reconnect(&mut self, mut end: SessionEnd) -> Result<Link, String> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match &end {
                SessionEnd::Dropped => self.await_storm_end().await,
                SessionEnd::Refused(_) => return Err(end.to_string()),
                SessionEnd::Link(LinkError::Closed(close)) if close.verdict() == Verdict::End => {
                    self.count(&LinkError::Closed(close.clone()));
                    return Err(end.to_string());
                }
                SessionEnd::Link(LinkError::Malformed(_)) => return Err(end.to_string()),
                SessionEnd::Link(error) => {
                    self.count(error);
                    self.node += 1;
                    sleep(backoff.next(error.retry_after(), fastrand::f64())).await;
                }
                SessionEnd::Goaway(_)
                | SessionEnd::Unavailable { .. }
                | SessionEnd::Unanswered
                | SessionEnd::Silent => {
                    self.node += 1;
                    let hint =
                        if let SessionEnd::Unavailable { after, .. } = end { Some(after) } else { None };
                    sleep(backoff.next(hint, fastrand::f64())).await;
                }
            }
            end = match Box::pin(self.connect()).await {
                Ok(link) => return Ok(link),
                Err(end) => end,
            };
            *self.findings.failed_attempts.entry(end.to_string()).or_default() += 1;
        }
    }

    pub(super) async fn connect(&mut self) -> Result<Link, SessionEnd> {
        let (shared, node) = (Arc::clone(&self.shared), self.node);
        let opening = Link::open(shared.endpoint(node), shared.options(self.number, node));
        let link = timeout(TIMEOUT, Box::pin(opening)).await.map_err(|_| SessionEnd::Unanswered)??;
        self.begin(link).await
    }

    /// Starts the session on a link, and waits until each subscription has started.
    async fn begin(&mut self, mut link: Link) -> Result<Link, SessionEnd> {
        let beginning = async {
            self.aliases.clear();
            for channel in &mut self.channels {
                channel.alias = None;
            }
            let connect = Connect {
                client_name: env!("CARGO_PKG_NAME").into(),
                client_version: env!("CARGO_PKG_VERSION").into(),
                subscriptions: self.channels.iter().map(Channel::subscribe).collect(),
                ..Connect::default()
            };
            link.send(&ClientMessage { id: 1, command: Some(Command::Connect(connect)) }).await?;
            while self.aliases.len() < self.channels.len() {
                self.receive_one(&mut link).await?;
            }
            Ok::<_, SessionEnd>(link)
        };
        let link = timeout(TIMEOUT, Box::pin(beginning)).await.map_err(|_| SessionEnd::Unanswered)??;
        self.resumed();
        Ok(link)
    }

    /// Waits until connections may reconnect.
    async fn await_storm_end(&mut self) {
        self.storm = Stage::Away;
        let mut end = self.shared.signals.reconnect.subscribe();
        let Ok(Some(at_ns)) = end.wait_for(Option::is_some).await.map(|at_ns| *at_ns) else { return };
        sleep_until(self.shared.moment(Duration::from_nanos(at_ns))).await;
        self.storm = Stage::Back(self.shared.due_by(self.number, at_ns));
    }

    /// Records that all subscriptions have started again.
    fn resumed(&mut self) {
        if let Stage::Back(target) = self.storm {
            let behind = target.saturating_sub(self.accounted);
            self.shared.traffic.storm().resume(self.shared.now_ns(), behind);
            self.caught_up();
        }
    }
}
