//! The client of the model: it checks every frame against the records that there are.

use std::{collections::BTreeMap, time::Instant};

use tailcast_proto::push::v1;

use super::super::world::World;

/// A subscription as its client sees it.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) channel: usize,
    /// Every record of the channel before this offset was delivered.
    pub(super) next: i64,
}

/// The client, and what it expects.
#[derive(Default)]
pub(super) struct Client {
    pub(super) subscriptions: BTreeMap<u32, Subscribed>,
    pub(super) replies: BTreeMap<u32, Vec<String>>,
    pub(super) goaways: usize,
    pub(super) pings: usize,
    pub(super) heartbeat_at: Option<Instant>,
}

/// The channels that tests subscribe to.
pub(super) const CHANNELS: [&str; 3] = ["t/a", "t/*", "u/*"];

impl Client {
    pub(super) fn take(&mut self, id: u32, frame: v1::frame::Frame, world: &World) {
        let reply = match frame {
            v1::frame::Frame::Delivery(delivery) => {
                let subscription = self.subscriptions.get_mut(&delivery.alias).expect("it is subscribed");
                let expected = world.own(subscription.channel, subscription.next).next();
                assert_eq!(Some(delivery.offset), expected, "{subscription:?}");
                subscription.next = delivery.offset + 1;
                return;
            }
            v1::frame::Frame::Subscribed(frame) => {
                let channel = channel_of(&frame.name);
                let next = offset_of(frame.position.as_ref());
                self.subscriptions.insert(frame.alias, Subscribed { channel, next });
                "subscribed".to_owned()
            }
            v1::frame::Frame::Unsubscribed(frame) => {
                let subscription = self.subscriptions.remove(&frame.alias).expect("it is subscribed");
                let position = offset_of(frame.position.as_ref());
                let left = world.own(subscription.channel, subscription.next).next();
                assert!(position >= subscription.next, "{position} is before {subscription:?}");
                assert!(left.is_none_or(|left| position <= left), "{position} leaves out {left:?}");
                "unsubscribed".to_owned()
            }
            v1::frame::Frame::Heartbeat(_) => {
                self.heartbeat_at = Some(world.now);
                return;
            }
            v1::frame::Frame::Goaway(_) => {
                self.goaways += 1;
                return;
            }
            v1::frame::Frame::Connected(_) => "connected".to_owned(),
            v1::frame::Frame::Error(error) => error.code().as_str_name().to_owned(),
            other => panic!("it was sent {other:?}"),
        };
        if id > 0 {
            self.replies.entry(id).or_default().push(reply);
        }
    }
}

impl World {
    /// Returns the offsets of a channel's records from an offset on.
    pub(super) fn own(&self, channel: usize, from: i64) -> impl Iterator<Item = i64> {
        let name = CHANNELS[channel];
        let records = &self.topics[usize::from(name.starts_with('u'))].records;
        let is_own = move |(at, key): &&(i64, &str)| *at >= from && (name.ends_with('*') || *key == "a");
        records.iter().filter(is_own).map(|(at, _)| *at)
    }
}

pub(super) fn channel_of(name: &str) -> usize {
    CHANNELS.iter().position(|channel| *channel == name).expect("tests use these channels")
}

fn offset_of(position: Option<&v1::Position>) -> i64 {
    position.and_then(|position| position.offsets.first()).expect("there is one partition").offset
}
