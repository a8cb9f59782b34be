//! Expected frames: any other frame is a failure.

use tailcast_proto::push::v1::{Heartbeat, SnapshotEnd, Unsubscribed, frame};
use tailcast_proto::{Offset, PartitionId};

use super::{Received, Subscriber};
use crate::deadline::within;

impl Subscriber {
    /// Waits for the next delivery.
    ///
    /// # Panics
    ///
    /// When it is repeated or out of order, when another frame arrives, or none.
    pub async fn receive(&mut self) -> Received {
        match self.event().await {
            frame::Frame::Delivery(delivery) => self.account.received(delivery),
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    /// Waits for the end of a subscription, and returns it with the deliveries before it.
    ///
    /// # Panics
    ///
    /// When another frame arrives, or none.
    pub async fn until_unsubscribed(&mut self) -> (Vec<Received>, Unsubscribed) {
        let mut received = Vec::new();
        loop {
            match self.event().await {
                frame::Frame::Delivery(delivery) => received.push(self.account.received(delivery)),
                frame::Frame::Unsubscribed(unsubscribed) => return (received, unsubscribed),
                other => panic!("expected Unsubscribed, got {other:?}"),
            }
        }
    }

    /// Waits for deliveries with these values, in this order and without other frames.
    ///
    /// # Panics
    ///
    /// When other frames arrive, or none.
    pub async fn expect<V: ToString>(&mut self, values: impl IntoIterator<Item = V>) {
        for expected in values {
            let received = self.receive().await;
            assert_eq!(received.text(), expected.to_string(), "{received:?}");
        }
    }

    /// Waits for the next frame, which must be a heartbeat.
    ///
    /// # Panics
    ///
    /// When another frame arrives, or none.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        match within("a heartbeat", self.next()).await {
            frame::Frame::Heartbeat(heartbeat) => heartbeat,
            other => panic!("expected a heartbeat, got {other:?}"),
        }
    }

    /// Waits until a heartbeat reports that `channel` is at least at `offset` in `partition`. Only
    /// heartbeats may arrive before.
    ///
    /// # Panics
    ///
    /// When another frame arrives, or no such heartbeat.
    pub async fn expect_progress(&mut self, channel: &str, partition: PartitionId, offset: i64) {
        let offset = Offset::new(offset).expect("an offset is 0 or more");
        within(format_args!("progress of {channel} to {partition}:{offset}"), async {
            while self.position(channel).offsets.get(&partition).is_none_or(|at| *at < offset) {
                match self.next().await {
                    frame::Frame::Heartbeat(heartbeat) => self.account.progress(&heartbeat),
                    other => panic!("expected a heartbeat, got {other:?}"),
                }
            }
        })
        .await;
    }

    /// Waits for the end of a snapshot, and returns it with the values.
    ///
    /// # Panics
    ///
    /// When another frame arrives, or none.
    pub async fn until_snapshot_end(&mut self) -> (Vec<Received>, SnapshotEnd) {
        let mut received = Vec::new();
        loop {
            match self.event().await {
                frame::Frame::Delivery(delivery) => received.push(self.account.received(delivery)),
                frame::Frame::SnapshotEnd(end) => return (received, end),
                other => panic!("expected SnapshotEnd, got {other:?}"),
            }
        }
    }
}
