//! The frames of one WebSocket message.

use tailcast_proto::push::v1::{Skipped, SnapshotEnd, frame};

use super::{Received, Subscriber};
use crate::deadline::within;

/// The frames of one WebSocket message, without heartbeats.
#[derive(Debug, Default)]
pub struct Brought {
    /// Its deliveries.
    pub deliveries: Vec<Received>,
    /// Its skips.
    pub skipped: Vec<Skipped>,
    /// Its end of a snapshot, if any.
    pub snapshot_end: Option<SnapshotEnd>,
}

impl Brought {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.skipped.is_empty() && self.snapshot_end.is_none()
    }
}

impl Subscriber {
    /// Waits for the next WebSocket message with other frames than heartbeats.
    ///
    /// # Panics
    ///
    /// When another frame arrives, or none.
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
            other => panic!("expected deliveries or skips, got {other:?}"),
        }
    }
}
