//! The positions of what an application has been told.
//!
//! The task of a client is ahead of its application by what waits in the queue between them. A position that is kept for the
//! next start must not be: so the application's side follows the events it takes.

use std::{collections::HashMap, sync::Arc};

use tailcast_proto::{Channel, Position};

use crate::{Event, Tracker};

/// The position of each subscription, by the events seen.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    trackers: HashMap<Arc<Channel>, Tracker>,
}

impl Positions {
    /// Takes an event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Subscribed(subscribed) => self
                .trackers
                .entry(Arc::clone(&subscribed.channel))
                .or_insert_with(|| Tracker::new(&subscribed.channel))
                .subscribed(subscribed.position.clone(), subscribed.outcome),
            Event::Delivery(delivery) => {
                if let Some(tracker) = self.trackers.get_mut(&delivery.channel) {
                    // The client's own tracker has refused what is out of order before it became an event.
                    let _ = tracker.delivered(delivery.partition, delivery.offset);
                }
            }
            Event::Skipped(skipped) => {
                if let Some(tracker) = self.trackers.get_mut(&skipped.channel) {
                    tracker.skipped(skipped.partition, skipped.first, skipped.next, skipped.reason);
                }
            }
            Event::SnapshotEnd(end) => {
                if let Some(tracker) = self.trackers.get_mut(&end.channel) {
                    tracker.snapshot_ended(end.position.clone());
                }
            }
            Event::Heartbeat(heartbeat) => {
                for progress in &heartbeat.progress {
                    if let Some(tracker) = self.trackers.get_mut(&progress.channel) {
                        tracker.progressed(progress.partition, progress.next);
                    }
                }
            }
            Event::Unsubscribed(_)
            | Event::Reconnecting(_)
            | Event::Reconnected(_)
            | Event::Error(_)
            | Event::Ended(_) => {}
        }
    }

    /// Returns where the subscription to a channel is, also after it ended. `None`: it has not started, or its snapshot is
    /// incomplete.
    #[must_use]
    pub fn of(&self, channel: &Channel) -> Option<&Position> {
        self.trackers.get(channel)?.position()
    }
}
