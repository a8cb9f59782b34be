//! The positions after the events that an application has received.
//!
//! The task of a client is ahead of its application by the events in the queue between them. A
//! position that an application saves must not be ahead, so it is derived from the events that it
//! has received.
//!
//! Invariant: a tracker lives as long as its subscription. A later subscription to the channel may
//! start at an earlier position.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tailcast_proto::{Channel, Position};

use crate::{Event, Tracker};

/// Maximum number of ended subscriptions whose positions are kept; the oldest is dropped first.
const ENDED_MAX: usize = 1024;

/// The position of each subscription after the received events.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    trackers: HashMap<Arc<Channel>, Tracker>,
    /// The last positions of ended subscriptions, unless the channel was subscribed again.
    ended: VecDeque<(Arc<Channel>, Position)>,
}

impl Positions {
    /// Applies an event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Subscribed(subscribed) => {
                self.ended.retain(|(channel, _)| *channel != subscribed.channel);
                self.trackers
                    .entry(Arc::clone(&subscribed.channel))
                    .or_insert_with(|| Tracker::new(&subscribed.channel))
                    .subscribed(subscribed.position.clone(), subscribed.outcome);
            }
            Event::Delivery(delivery) => {
                if let Some(tracker) = self.trackers.get_mut(&delivery.channel) {
                    // The client has checked the order before.
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
            Event::Unsubscribed(unsubscribed) => self.end(&unsubscribed.channel),
            Event::Error(refused) => {
                // A subscription that the client retries keeps its position.
                if let (Some(channel), None) = (&refused.channel, refused.retry_after) {
                    self.end(channel);
                }
            }
            Event::Reconnecting(_) | Event::Reconnected(_) | Event::Moved(_) | Event::Ended(_) => {}
        }
    }

    /// Returns the position of the subscription to a channel, or the last position of one that has
    /// ended. `None`: it has not started, or its snapshot is incomplete.
    #[must_use]
    pub fn of(&self, channel: &Channel) -> Option<&Position> {
        match self.trackers.get(channel) {
            Some(tracker) => tracker.position(),
            None => self.ended.iter().find(|(ended, _)| **ended == *channel).map(|(_, position)| position),
        }
    }

    fn end(&mut self, channel: &Arc<Channel>) {
        let Some(tracker) = self.trackers.remove(channel) else { return };
        let Some(position) = tracker.position() else { return };
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((Arc::clone(channel), position.clone()));
    }
}

#[cfg(test)]
mod tests {
    use tailcast_proto::{
        Offset, PartitionId,
        push::v1::{DeliveryMode, ErrorCode, Outcome, SkipReason, UnsubscribeReason},
    };

    use super::*;
    use crate::{Refused, Skipped, Subscribed, Unsubscribed};

    fn channel(name: &str) -> Arc<Channel> {
        Arc::new(name.parse().expect("a channel"))
    }

    fn subscribed(name: &str, position: &str) -> Event {
        Event::Subscribed(Subscribed {
            channel: channel(name),
            position: position.parse().expect("a position"),
            outcome: Outcome::Resumed,
            lost: Vec::new(),
            mode: DeliveryMode::Lossless,
            max_rate: None,
        })
    }

    fn unsubscribed(name: &str) -> Event {
        let reason = UnsubscribeReason::Requested;
        Event::Unsubscribed(Unsubscribed { channel: channel(name), reason, position: None })
    }

    fn refused(name: &str, retry_after: Option<std::time::Duration>) -> Event {
        let (code, channel) = (ErrorCode::Unavailable, Some(channel(name)));
        Event::Error(Refused { channel, code, detail: String::new(), field: String::new(), retry_after })
    }

    /// Moves the position of partition 0 to `next`.
    fn moved(name: &str, next: i64) -> Event {
        Event::Skipped(Skipped {
            channel: channel(name),
            partition: PartitionId::new(0),
            first: Offset::ZERO,
            next: Offset::new(next).expect("it is not negative"),
            reason: SkipReason::Retention,
            records: None,
        })
    }

    #[track_caller]
    fn check(events: &[Event], name: &str, expected: Option<&str>) {
        let mut positions = Positions::default();
        events.iter().for_each(|event| positions.apply(event));
        assert_eq!(positions.of(&channel(name)).map(ToString::to_string).as_deref(), expected);
    }

    #[test]
    fn a_new_subscription_may_start_at_an_earlier_position() {
        // The tracker of the ended subscription was reused and kept its larger offset: resuming
        // from that position skipped the records before it.
        let end = unsubscribed("quotes/A");
        check(&[subscribed("quotes/A", "0:5"), moved("quotes/A", 50), end], "quotes/A", Some("0:50"));
        let end = unsubscribed("quotes/A");
        let again = subscribed("quotes/A", "0:5");
        check(&[subscribed("quotes/A", "0:50"), end, again], "quotes/A", Some("0:5"));
        let again = subscribed("quotes/A", "0:5");
        check(&[subscribed("quotes/A", "0:50"), refused("quotes/A", None), again], "quotes/A", Some("0:5"));
    }

    #[test]
    fn a_retried_subscription_keeps_its_position() {
        let later = refused("quotes/A", Some(std::time::Duration::ZERO));
        let again = subscribed("quotes/A", "0:5");
        check(&[subscribed("quotes/A", "0:50"), later, again], "quotes/A", Some("0:50"));
    }

    #[test]
    fn the_number_of_positions_of_ended_subscriptions_is_limited() {
        let mut positions = Positions::default();
        for number in 0..=ENDED_MAX {
            positions.apply(&subscribed(&format!("quotes/{number}"), "0:5"));
            positions.apply(&unsubscribed(&format!("quotes/{number}")));
        }
        assert_eq!(positions.of(&channel("quotes/0")), None);
        assert!(positions.of(&channel("quotes/1")).is_some());
        assert!(positions.of(&channel(&format!("quotes/{ENDED_MAX}"))).is_some());
        assert_eq!((positions.trackers.len(), positions.ended.len()), (0, ENDED_MAX));
    }
}
