//! What surrounds the rules in their tests: two topics of one partition each, with Kafka behind
//! their windows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message as _;
use tailcast_proto::{
    Epoch, Offset, PartitionId, TopicName,
    delivery::Format,
    push::v1::{self, Outcome, client_message::Command},
};

use super::super::{Event, Moment, PageAnswer, PageRequest, Request, Rules, SessionPolicy, liveness::Clock};
use crate::{
    config::tests::defaults,
    cursor::StartAt,
    log::page::Page,
    node::hub::Lease,
    partition::{Partition, WindowBudget},
    record::{
        batch::{Record, RecordBatchBuilder, tests::batch},
        channel::NodeChannel,
    },
    session::{inbound::Inbound, start::Started},
    wake::{
        doorbell::{CursorId, Doorbell},
        fan_out::FanOut,
    },
};

/// A topic with one partition, as Kafka has it and as the node tails it.
pub(super) struct Topic {
    pub(super) partition: Arc<Partition>,
    pub(super) records: Vec<(i64, &'static str)>,
}

/// The rules of one session and their surroundings.
pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) topics: [Topic; 2],
    pub(super) clock: Clock,
    pub(super) now: Instant,
    pub(super) random: f64,
    aliases: u32,
    /// The pages that are kept. Cursors do not keep theirs.
    pub(super) shelf: Vec<Arc<Page>>,
}

pub(super) fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

impl Topic {
    fn new(name: &str) -> Self {
        let topic = TopicName::parse(name).expect("tests name topics");
        let (epoch, budget) = (Epoch::from_bits(1, 2), WindowBudget::new(usize::MAX));
        let id = PartitionId::new(0);
        let partition = Partition::new(topic, epoch, id, Offset::ZERO, budget, FanOut::idle(), None);
        Self { partition, records: Vec::new() }
    }

    /// Appends a record for each key.
    pub(super) fn append(&mut self, keys: &[&'static str]) {
        let first = self.partition.head().get();
        let records: Vec<_> = (first..).zip(keys.iter().copied()).collect();
        self.records.extend(&records);
        self.partition.append(batch(&records));
    }

    /// Returns a page from an offset on, of at most `length` records.
    pub(super) fn page(&self, from: Offset, length: usize) -> Arc<Page> {
        let mut builder = RecordBatchBuilder::default();
        for (at, key) in self.records.iter().filter(|(at, _)| *at >= from.get()).take(length) {
            builder.push(&Record {
                offset: offset(*at),
                timestamp_ms: 0,
                key: Some(key.as_bytes()),
                value: None,
                headers: &[],
            });
        }
        let to = builder.last_offset().map_or(from, Offset::next);
        Arc::new(Page::new(from, to, builder.build()))
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut config = defaults();
        let second = Duration::from_secs(1);
        config.drain.spread = 10 * second;
        config.sessions.subscriptions_max = 2;
        config.sessions.connect_deadline = 5 * second;
        config.sessions.ping_interval = 20 * second;
        config.sessions.pong_deadline = 10 * second;
        config.sessions.heartbeat_interval = 7 * second;
        config.sessions.write_deadline = 15 * second;
        let (start, random) = (Instant::now(), 0.5);
        let at = Moment { now: start, wall_ms: 0, random };
        let doorbell = Arc::new(Doorbell::default());
        let rules = Rules::new(Arc::new(SessionPolicy::new(&config)), 1, Format::Proto, doorbell, at);
        let topics = ["t", "u"].map(Topic::new);
        Self { rules, topics, clock: Clock::new(start), now: start, random, aliases: 0, shelf: Vec::new() }
    }

    pub(super) fn at(&self) -> Moment {
        Moment { now: self.now, wall_ms: 0, random: self.random }
    }

    pub(super) fn topic(&mut self, name: &str) -> &mut Topic {
        &mut self.topics[usize::from(name == "u")]
    }

    /// What the starter finds for a subscription to a channel from an offset on.
    pub(super) fn started(&mut self, request: &Request, from: i64) -> Started {
        self.aliases += 1;
        let alias = self.aliases;
        let partition = &self.topic(request.channel.topic.as_ref()).partition;
        Started {
            channel: Arc::new(NodeChannel { channel: request.channel.clone(), alias, home: None }),
            epoch: partition.epoch,
            partition_count: 1,
            partitions: vec![(Lease::of(partition), StartAt::Offset(offset(from)))],
            outcome: Outcome::Resumed,
            lost: Vec::new(),
        }
    }

    /// What the reader of pages finds for a request.
    pub(super) fn answer(&mut self, request: &PageRequest, length: usize) -> PageAnswer {
        let topic = self.topic(request.partition.topic.as_ref());
        let page = topic.page(request.offset, length);
        self.shelf.push(Arc::clone(&page));
        PageAnswer { cursor: request.cursor, serial: request.serial, page: Ok(page) }
    }
}

/// A command as it arrives.
pub(super) fn command(id: u32, command: Command) -> Event {
    let message = v1::ClientMessage { id, command: Some(command) };
    inbound(Inbound::Binary(message.encode_to_vec().into()))
}

pub(super) fn inbound(message: Inbound) -> Event {
    Event::Inbound { message, is_node_full: false }
}

pub(super) fn subscribe(name: &str) -> Command {
    let target = Some(v1::subscribe::Target::Name(name.to_owned()));
    Command::Subscribe(v1::Subscribe { target, ..v1::Subscribe::default() })
}

pub(super) fn unsubscribe(name: &str) -> Command {
    let target = Some(v1::unsubscribe::Target::Name(name.to_owned()));
    Command::Unsubscribe(v1::Unsubscribe { target })
}

/// Returns the frames of a message that is in parts.
pub(super) fn frames(parts: &[Bytes]) -> Vec<v1::frame::Frame> {
    let message = v1::ServerMessage::decode(parts.concat().as_slice()).expect("parts make a message");
    message.frames.into_iter().filter_map(|frame| frame.frame).collect()
}

/// A request for the first page of a channel.
pub(in crate::session) fn page_request(topic: &str) -> PageRequest {
    let channel = format!("{topic}/a").parse().expect("tests name channels");
    PageRequest {
        cursor: CursorId(0),
        serial: 1,
        channel: Arc::new(NodeChannel { channel, alias: 1, home: None }),
        partition: Topic::new(topic).partition,
        offset: Offset::ZERO,
    }
}
