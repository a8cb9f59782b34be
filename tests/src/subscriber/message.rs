//! What came in one WebSocket message.

use tailcast_proto::push::v1::{Skipped, SnapshotEnd, frame};

use super::{Received, Subscriber};
use crate::deadline::within;

/// What one WebSocket message brought, beside heartbeats.
#[derive(Debug, Default)]
pub struct Brought {
    /// Its deliveries.
    pub deliveries: Vec<Received>,
    /// What it said to be left out.
    pub skipped: Vec<Skipped>,
    /// The end of a snapshot, if it had that.
    pub snapshot_end: Option<SnapshotEnd>,
}

impl Brought {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.skipped.is_empty() && self.snapshot_end.is_none()
    }
}

impl Subscriber {
    /// Waits for the next WebSocket message that has more than heartbeats, and returns all of it.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    pub async fn message(&mut self) -> Brought {
        let mut brought = Brought::default();
        within("a message", async {
            while brought.is_empty() {
                self.bring(&mut brought).await;
                while !self.pending.is_empty() || !self.arrived.is_empty() {
                    self.bring(&mut brought).await;
                }
            }
        })
        .await;
        brought
    }

    async fn bring(&mut self, into: &mut Brought) {
        match self.next().await {
            frame::Frame::Delivery(delivery) => into.deliveries.push(self.account.received(delivery)),
            frame::Frame::Skipped(skipped) => into.skipped.push(skipped),
            frame::Frame::SnapshotEnd(end) => into.snapshot_end = Some(end),
            frame::Frame::Heartbeat(heartbeat) => self.account.progress(&heartbeat),
            other => panic!("expected records or what is left out of them, got {other:?}"),
        }
    }
}
