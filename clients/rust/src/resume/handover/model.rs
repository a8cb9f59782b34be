//! A model: a log, two nodes that deliver from it, and a client, as plain vectors.

use std::time::Instant;

use tailcast_proto::{
    Channel,
    push::v1::{self, ClientMessage, Frame, client_message::Command, frame, start::At, subscribe},
};

use super::super::Resume;
use crate::{Event, Start, Subscription};

/// Number of partitions of the log.
pub(super) const PARTITIONS: usize = 2;

/// The channels of the client: the first is lossless, the second is conflated.
const CHANNELS: [&str; 2] = ["quotes/A*", "quotes/B*"];

/// A topic: the records of each partition, and whether each belongs to either channel.
#[derive(Debug, Default)]
pub(super) struct Log([Vec<[bool; 2]>; PARTITIONS]);

/// One connection, on the node's side.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The first alias: aliases of two connections differ, or have another meaning.
    alias: u32,
    /// Pending commands: id, index, channel, and the next offset of each partition.
    pending: Vec<(u32, u32, usize, [usize; PARTITIONS])>,
    /// The next offset of each partition, by channel. `None`: not subscribed.
    cursors: [Option<[usize; PARTITIONS]>; 2],
}

/// The events that an application received.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// Offsets, by channel and partition.
    offsets: [[Vec<usize>; PARTITIONS]; 2],
    /// The number of records that were reported as skipped.
    skipped: [[usize; PARTITIONS]; 2],
}

/// A client, its current node, and the node that takes over.
#[derive(Debug)]
pub(super) struct World {
    log: Log,
    resume: Resume,
    wire: Wire,
    next: Option<Wire>,
    got: Got,
    now: Instant,
}

/// A step; one that is impossible is ignored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Append {
        partition: usize,
        of: [bool; 2],
    },
    /// A node answers a command.
    Answer {
        next: bool,
    },
    /// A node delivers the next record of a channel in a partition.
    Deliver {
        next: bool,
        channel: usize,
        partition: usize,
    },
    /// A node reports its progress.
    Progress {
        next: bool,
        partition: usize,
    },
    /// The client opens another connection.
    Prepare,
    /// The other connection takes over if it is ready.
    TakeOver,
    /// The other connection breaks.
    Abandon,
    /// The current connection breaks.
    Break,
}

fn int<T: TryFrom<usize>>(number: usize) -> T {
    number.try_into().ok().expect("the model is small")
}

fn size<T: TryInto<usize>>(number: T) -> usize {
    number.try_into().ok().expect("it is not negative")
}

fn frame(id: u32, frame: frame::Frame) -> Frame {
    Frame { id, frame: Some(frame) }
}

impl Wire {
    /// Receives messages of the client.
    fn hear(&mut self, messages: Vec<ClientMessage>) {
        for ClientMessage { id, command } in messages {
            let subscriptions = match command {
                Some(Command::Connect(connect)) => connect.subscriptions,
                Some(Command::Subscribe(subscribe)) => vec![subscribe],
                other => panic!("{other:?} was not expected"),
            };
            for (index, subscription) in subscriptions.into_iter().enumerate() {
                let Some(subscribe::Target::Channel(channel)) = subscription.target else {
                    panic!("no channel")
                };
                let channel = Channel::try_from(channel).expect("a channel").to_string();
                let channel = CHANNELS.iter().position(|each| *each == channel).expect("one of the two");
                let mut from = [0; PARTITIONS];
                match subscription.start.and_then(|start| start.at) {
                    Some(At::Earliest(_)) => {}
                    Some(At::Position(position)) => {
                        let offsets = position.offsets.iter();
                        offsets.for_each(|at| from[size(at.partition)] = size(at.offset));
                    }
                    other => panic!("{other:?} was not expected"),
                }
                self.pending.push((id, int(index), channel, from));
            }
        }
    }

    /// Answers the oldest pending command.
    fn answer(&mut self) -> Option<Frame> {
        let (id, index, channel, from) = (!self.pending.is_empty()).then(|| self.pending.remove(0))?;
        assert_eq!(self.cursors[channel], None, "a channel is subscribed once");
        self.cursors[channel] = Some(from);
        let offsets =
            (0..).zip(from).map(|(partition, offset)| v1::PartitionOffset { partition, offset: int(offset) });
        let position = v1::Position { offsets: offsets.collect(), ..Default::default() };
        let (alias, outcome) = (self.alias + int::<u32>(channel), v1::Outcome::Resumed.into());
        let subscribed =
            v1::Subscribed { index, alias, position: Some(position), outcome, ..Default::default() };
        Some(frame(id, frame::Frame::Subscribed(subscribed)))
    }

    /// Delivers a channel's next record, or the latest one and the number of skipped ones.
    fn deliver(&mut self, log: &Log, channel: usize, partition: usize) -> Option<Vec<Frame>> {
        let cursor = &mut self.cursors[channel].as_mut()?[partition];
        let mut rest = log.of(channel, partition).filter(|at| at >= cursor);
        let (offset, skipped) = if channel == 0 {
            (rest.next()?, 0)
        } else {
            let rest: Vec<_> = rest.collect();
            (*rest.last()?, rest.len() - 1)
        };
        let first = std::mem::replace(cursor, offset + 1);
        let alias = self.alias + int::<u32>(channel);
        let delivery = v1::Delivery {
            alias,
            partition: Some(int(partition)),
            offset: int(offset),
            ..Default::default()
        };
        let mut frames = vec![frame(0, frame::Frame::Delivery(delivery))];
        if skipped > 0 {
            let skipped = v1::Skipped {
                alias,
                partition: int(partition),
                first_offset: int(first),
                next_offset: int(offset + 1),
                reason: v1::SkipReason::Conflated.into(),
                records: int(skipped),
            };
            frames.push(frame(0, frame::Frame::Skipped(skipped)));
        }
        Some(frames)
    }

    /// Reports that everything was delivered, except to channels that are behind.
    fn progress(&mut self, log: &Log, partition: usize) -> Frame {
        let end = log.0[partition].len();
        let mut except_aliases = Vec::new();
        for (channel, cursors) in self.cursors.iter_mut().enumerate() {
            let Some(cursors) = cursors else { continue };
            if log.of(channel, partition).any(|at| at >= cursors[partition]) {
                except_aliases.push(self.alias + int::<u32>(channel));
            } else {
                cursors[partition] = end;
            }
        }
        let (topic, next_offset) = ("quotes".into(), int(end));
        let progress = vec![v1::Progress { topic, partition: int(partition), next_offset, except_aliases }];
        frame(0, frame::Frame::Heartbeat(v1::Heartbeat { progress, ..Default::default() }))
    }
}

impl Log {
    /// Returns the offsets of a channel's records in a partition.
    fn of(&self, channel: usize, partition: usize) -> impl Iterator<Item = usize> {
        self.0[partition].iter().enumerate().filter(move |(_, of)| of[channel]).map(|(at, _)| at)
    }
}

impl World {
    /// Returns a client that requests both channels from the beginning.
    pub(super) fn new() -> Self {
        let mut resume = Resume::new();
        for (name, conflated) in CHANNELS.into_iter().zip([false, true]) {
            let subscription = Subscription::to(name.parse().expect("a channel")).from(Start::Earliest);
            let subscription = if conflated { subscription.conflated() } else { subscription };
            resume.add(subscription).expect("each channel once");
        }
        let mut world = Self {
            log: Log::default(),
            resume,
            wire: Wire::default(),
            next: None,
            got: Got::default(),
            now: Instant::now(),
        };
        world.reconnect();
        world
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Append { partition, of } => self.log.0[partition].push(of),
            Step::Answer { next } => {
                let frame = self.wire(next).and_then(Wire::answer);
                self.hear(next, frame);
            }
            Step::Deliver { next, channel, partition } => {
                let log = std::mem::take(&mut self.log);
                let frames = self.wire(next).and_then(|wire| wire.deliver(&log, channel, partition));
                self.log = log;
                frames.into_iter().flatten().for_each(|frame| self.hear(next, Some(frame)));
            }
            Step::Progress { next, partition } => {
                let log = std::mem::take(&mut self.log);
                let frame = self.wire(next).map(|wire| wire.progress(&log, partition));
                self.log = log;
                self.hear(next, frame);
            }
            Step::Prepare if self.next.is_none() => {
                let mut wire = Wire { alias: (self.wire.alias + 1) % 3, ..Wire::default() };
                wire.hear(self.resume.prepare(v1::Connect::default(), usize::MAX));
                assert!(
                    wire.pending.iter().all(|(_, _, channel, _)| *channel == 0),
                    "conflation does not overlap"
                );
                self.next = Some(wire);
            }
            Step::TakeOver if self.resume.is_ready() => self.take_over(),
            Step::Abandon => {
                self.next = None;
                self.resume.abandon();
            }
            Step::Break if self.next.is_some() => self.take_over(),
            Step::Break => self.reconnect(),
            Step::Prepare | Step::TakeOver => {}
        }
        let due = self.resume.due(self.now);
        self.wire.hear(due);
    }

    /// Lets the current node deliver everything, and compares the application's events with the
    /// log.
    pub(super) fn settle(mut self) {
        while !self.wire.pending.is_empty() {
            self.step(Step::Answer { next: false });
        }
        for (channel, partition) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for _ in 0..=self.log.0[partition].len() {
                self.step(Step::Deliver { next: false, channel, partition });
            }
            let expected: Vec<_> = self.log.of(channel, partition).collect();
            let got = &self.got.offsets[channel][partition];
            if channel == 0 {
                assert_eq!(*got, expected, "every record once and in order");
            } else {
                assert_eq!(got.last(), expected.last(), "the latest record was delivered");
                assert!(got.is_sorted_by(|one, other| one < other), "{got:?}");
                let counted = got.len() + self.got.skipped[channel][partition];
                assert_eq!(counted, expected.len(), "every record was delivered or skipped");
            }
        }
    }

    fn wire(&mut self, next: bool) -> Option<&mut Wire> {
        if next { self.next.as_mut() } else { Some(&mut self.wire) }
    }

    fn hear(&mut self, next: bool, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let event = if next {
            self.resume.observe_next(frame, self.now).expect("the node can take over")
        } else {
            self.resume.observe(frame, self.now).expect("the node keeps to the protocol")
        };
        let number = |channel: &Channel| {
            let name = channel.to_string();
            CHANNELS.iter().position(|each| *each == name).expect("one of the two")
        };
        match event {
            Some(Event::Delivery(delivery)) => {
                let partition = size(delivery.partition.get());
                self.got.offsets[number(&delivery.channel)][partition].push(size(delivery.offset.get()));
            }
            Some(Event::Skipped(skipped)) => {
                let records = size(skipped.records.expect("conflation counts"));
                self.got.skipped[number(&skipped.channel)][size(skipped.partition.get())] += records;
            }
            _ => {}
        }
    }

    fn take_over(&mut self) {
        self.wire = self.next.take().expect("there is one");
        self.resume.take_over();
    }

    fn reconnect(&mut self) {
        self.wire = Wire { alias: (self.wire.alias + 2) % 3, ..Wire::default() };
        let messages = self.resume.connect(v1::Connect::default(), usize::MAX);
        self.wire.hear(messages);
    }
}
