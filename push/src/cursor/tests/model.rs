//! A simple model of what a cursor reads: a vector of records, with retention, eviction from the
//! window, and pages of any length.

use std::time::Instant;

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    sample::select,
};
use prost::Message as _;
use tailcast_proto::{Epoch, PartitionId, TopicName, delivery::Format, push::v1};

use super::super::*;
use crate::{
    partition::WindowBudget,
    record::batch::{Record, RecordBatchBuilder, tests::batch},
    wake::{
        doorbell::{CursorId, Doorbell},
        fan_out::FanOut,
    },
};

pub(super) const PROTO: Encoding = Encoding { format: Format::Proto, headers: false };

pub(super) fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

pub(super) fn partition(head: i64) -> Arc<Partition> {
    let topic = TopicName::parse("t").expect("it is a name");
    Partition::new(
        topic,
        Epoch::from_bits(1, 2),
        PartitionId::new(0),
        offset(head),
        WindowBudget::new(usize::MAX),
        FanOut::idle(),
        None,
    )
}

pub(super) fn cursor(partition: &Arc<Partition>, name: &str, next: i64, mode: DeliveryMode) -> Cursor {
    let channel = name.parse().expect("tests name channels");
    let channel = Arc::new(NodeChannel { channel, alias: 3, home: None });
    let ringer = Ringer::new(Arc::new(Doorbell::default()), CursorId(0));
    Cursor::new(Lease::of(partition), &channel, PROTO, (StartAt::Offset(offset(next)), mode), ringer)
}

pub(super) fn offsets(encoded: &[Bytes]) -> Vec<i64> {
    let message =
        v1::ServerMessage::decode(encoded.concat().as_slice()).expect("parts concatenate to a message");
    let offset = |frame: v1::Frame| match frame.frame {
        Some(v1::frame::Frame::Delivery(delivery)) => delivery.offset,
        other => panic!("a cursor hands out deliveries, found {other:?}"),
    };
    message.frames.into_iter().map(offset).collect()
}

/// Kafka for tests: all records, the low watermark, and pages of any length.
#[derive(Default)]
pub(super) struct Kafka {
    pub(super) records: Vec<(i64, &'static str)>,
    pub(super) low: i64,
}

impl Kafka {
    /// Reads a page of up to `length` records, or to the end, which is not before the window's
    /// tail.
    pub(super) fn page(&self, from: Offset, length: usize, tail: Offset) -> Result<Arc<Page>, PageError> {
        if from.get() < self.low {
            return Err(PageError::Expired { low: offset(self.low) });
        }
        let records: Vec<_> =
            self.records.iter().filter(|(at, _)| *at >= from.get()).take(length).copied().collect();
        let mut builder = RecordBatchBuilder::default();
        for (at, key) in &records {
            builder.push(&Record {
                offset: offset(*at),
                timestamp_ms: 0,
                key: Some(key.as_bytes()),
                value: None,
                headers: &[],
            });
        }
        let read = builder.last_offset().map_or(from, Offset::next);
        let to = if records.len() < length { read.max(tail) } else { read };
        Ok(Arc::new(Page::new(from, to, builder.build())))
    }
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Records with these keys, each with its distance to the previous offset.
    Append(Vec<(i64, &'static str)>),
    Evict,
    /// Retention removes this number of the oldest records.
    Expire(usize),
    Gather {
        budget: usize,
        is_behind: bool,
    },
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The requested page arrives.
    Answer {
        length: usize,
    },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (1..4_i64, select(vec!["a", "b", "ab"]));
    let step = prop_oneof![
        4 => vec(record, 1..6).prop_map(Step::Append),
        3 => proptest::strategy::Just(Step::Evict),
        1 => (0..4_usize).prop_map(Step::Expire),
        4 => (1..100_usize, any::<bool>()).prop_map(|(budget, is_behind)| Step::Gather { budget, is_behind }),
        1 => (1..200_u64).prop_map(Step::Wait),
        4 => (1..5_usize).prop_map(|length| Step::Answer { length }),
    ];
    vec(step, 1..60)
}

/// What a cursor delivered, and what it reported about the other records.
#[derive(Default)]
pub(super) struct CursorOutput {
    pub(super) delivered: Vec<i64>,
    /// Times of the deliveries.
    pub(super) at: Vec<Instant>,
    pub(super) lost: Vec<LostRange>,
    pub(super) conflated: Vec<ConflatedRange>,
    pub(super) asked: Option<Offset>,
    pub(super) cached: Vec<Arc<Page>>,
}

/// A cursor, its partition, and Kafka behind them.
pub(super) struct World {
    pub(super) kafka: Kafka,
    partition: Arc<Partition>,
    cursor: Cursor,
    channel: tailcast_proto::Channel,
    start: i64,
    now: Instant,
    pub(super) outcome: CursorOutput,
}

impl CursorOutput {
    pub(super) fn gather(&mut self, cursor: &mut Cursor, request: GatherRequest) -> FollowUp {
        let (mut out, from) = (Vec::new(), cursor.next());
        let gathered = cursor.gather(request, &mut out);
        let found = offsets(&out);
        assert_eq!(gathered.deliveries, found.len() as u64);
        assert!(found.iter().all(|at| (from.get()..cursor.next().get()).contains(at)), "{found:?}");
        self.at.extend(found.iter().map(|_| request.now));
        self.delivered.extend(found);
        if let Some(conflated) = gathered.conflated {
            assert_eq!((conflated.first, conflated.next), (from, cursor.next()), "it speaks of this turn");
            self.conflated.push(conflated);
        }
        if let FollowUp::Page(at) = gathered.follow_up {
            assert_eq!(self.asked.replace(at), None, "a page is asked for once");
        }
        gathered.follow_up
    }

    pub(super) fn answer(&mut self, cursor: &mut Cursor, kafka: &Kafka, length: usize) {
        if let Some(from) = self.asked.take() {
            let page = kafka.page(from, length, cursor.partition().tail());
            self.lost
                .extend(cursor.take_page(page.as_ref().map_err(|error| *error)).expect("the topic is there"));
            // Some pages stay in the page cache; others are dropped before the cursor reads them.
            if length.is_multiple_of(2) {
                self.cached.extend(page);
            }
        }
    }

    pub(super) fn is_lost(&self, at: i64) -> bool {
        self.lost.iter().any(|lost| lost.first.get() <= at && at < lost.next.get())
    }
}

impl World {
    /// Creates a partition with records from before the first subscription: they are in Kafka and
    /// in no window.
    pub(super) fn new(
        before: Vec<(i64, &'static str)>,
        back: impl Fn(usize) -> usize,
        (name, mode): (&str, DeliveryMode),
    ) -> Self {
        let mut kafka = Kafka::default();
        let mut end = 0;
        for (jump, key) in before {
            kafka.records.push((end + jump - 1, key));
            end += jump;
        }
        let partition = partition(end);
        let start = i64::try_from(back(usize::try_from(end).expect("it grows") + 1)).expect("it is small");
        let cursor = cursor(&partition, name, start, mode);
        let channel = name.parse().expect("tests name channels");
        let (now, outcome) = (Instant::now(), CursorOutput::default());
        Self { kafka, partition, cursor, channel, start, now, outcome }
    }

    pub(super) fn step(&mut self, step: Step) {
        let seen = self.cursor.next();
        match step {
            Step::Append(records) => {
                let mut at = self.partition.head().get() - 1;
                let records: Vec<_> = records
                    .into_iter()
                    .map(|(jump, key)| {
                        at += jump;
                        (at, key)
                    })
                    .collect();
                self.kafka.records.extend(&records);
                self.partition.append(batch(&records));
            }
            Step::Evict => drop(self.partition.evict_oldest()),
            Step::Expire(count) => {
                // Retention may remove records that a cursor still needs, but none that the tail
                // has not read.
                let remaining = self.kafka.records.iter().filter(|(at, _)| *at >= self.kafka.low);
                let low = remaining.map(|(at, _)| *at + 1).take(count).last().unwrap_or(self.kafka.low);
                self.kafka.low = low.min(self.partition.head().get());
            }
            Step::Gather { budget, is_behind } => {
                let request = GatherRequest { budget, is_behind, now: self.now };
                self.outcome.gather(&mut self.cursor, request);
            }
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Answer { length } => self.outcome.answer(&mut self.cursor, &self.kafka, length),
        }
        assert!(self.cursor.next() >= seen, "a cursor goes forward");
    }

    /// Lets the cursor reach the end without further changes.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000 {
            self.outcome.answer(&mut self.cursor, &self.kafka, 4);
            let request = GatherRequest { budget: 50, is_behind: false, now: self.now };
            match self.outcome.gather(&mut self.cursor, request) {
                FollowUp::Idle if self.outcome.asked.is_none() => break,
                FollowUp::At(due) => self.now = due,
                FollowUp::Idle | FollowUp::More | FollowUp::Page(_) => {}
            }
        }
        let end = self.partition.head().max(offset(self.start));
        assert_eq!(self.cursor.next(), end, "the cursor arrived");
        assert!(!self.cursor.is_catching_up());
    }

    /// Returns the records of the subscription.
    pub(super) fn own(&self) -> impl Iterator<Item = (i64, &'static str)> {
        let own = |(at, key): &&(i64, &'static str)| {
            *at >= self.start && self.channel.matches(Some(key.as_bytes()))
        };
        self.kafka.records.iter().filter(own).copied()
    }

    /// Returns the records of the subscription that were not reported as lost.
    pub(super) fn expected(&self) -> impl Iterator<Item = (i64, &'static str)> {
        self.own().filter(|(at, _)| !self.outcome.is_lost(*at))
    }
}
