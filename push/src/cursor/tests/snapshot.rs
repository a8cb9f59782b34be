//! A subscription that starts with a snapshot, against a simple model: a map to which all records
//! were applied.

use std::{collections::BTreeMap, time::Instant};

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
    prop_assert, prop_assert_eq,
    sample::select,
};
use tailcast_proto::{Epoch, PartitionId, TopicName};

use super::{
    super::*,
    model::{CursorOutput, PROTO, offset},
};
use crate::{
    log::last_values::LastValues,
    partition::WindowBudget,
    record::batch::{Record, RecordBatchBuilder},
    wake::{
        doorbell::{CursorId, Doorbell},
        fan_out::FanOut,
    },
};

/// A record of a key: a value, or a tombstone.
type Change = (&'static str, bool);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((select(vec!["a", "b", "ab", "c"]), proptest::bool::weighted(0.7)), 1..6)
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Change>),
    Evict,
    Gather { budget: usize, is_behind: bool },
    Answer { length: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => changes().prop_map(Step::Append),
        1 => proptest::strategy::Just(Step::Evict),
        4 => (1..60_usize, any::<bool>()).prop_map(|(budget, is_behind)| Step::Gather { budget, is_behind }),
        2 => (1..5_usize).prop_map(|length| Step::Answer { length }),
    ];
    vec(step, 0..40)
}

/// Number of deliveries before the end of the snapshot, and the cursor's position.
struct SnapshotEnded {
    delivered: usize,
    at: Offset,
}

/// A client's state after applying its deliveries.
#[derive(Default)]
struct ClientState(BTreeMap<&'static str, i64>);

impl ClientState {
    fn apply(&mut self, (at, key, is_value): (i64, &'static str, bool)) {
        if is_value {
            self.0.insert(key, at);
        } else {
            self.0.remove(key);
        }
    }
}

/// A partition that keeps last values, with all its records.
struct KeptPartition {
    records: Vec<(i64, &'static str, bool)>,
    partition: Arc<Partition>,
}

impl KeptPartition {
    fn new() -> Self {
        let topic = TopicName::parse("t").expect("it is a name");
        let kept = LastValues::new(std::iter::once(&topic), usize::MAX).keep(&topic, Offset::ZERO);
        let epoch = Epoch::from_bits(1, 2);
        let budget = WindowBudget::new(usize::MAX);
        let partition =
            Partition::new(topic, epoch, PartitionId::new(0), Offset::ZERO, budget, FanOut::idle(), kept);
        Self { records: Vec::new(), partition }
    }

    fn append(&mut self, changes: Vec<Change>) {
        let mut builder = RecordBatchBuilder::default();
        for (key, is_value) in changes {
            let at = i64::try_from(self.records.len()).expect("tests are small");
            self.records.push((at, key, is_value));
            builder.push(&record(at, key, is_value));
        }
        self.partition.append(builder.build().expect("there is a change"));
    }

    fn page(&self, from: Offset, length: usize) -> Arc<Page> {
        let mut builder = RecordBatchBuilder::default();
        let records = self.records.iter().filter(|(at, ..)| *at >= from.get()).take(length);
        records.for_each(|(at, key, is_value)| builder.push(&record(*at, key, *is_value)));
        let to = builder.last_offset().expect("a cursor requests existing records").next();
        Arc::new(Page::new(from, to, builder.build()))
    }
}

fn record(at: i64, key: &'static str, is_value: bool) -> Record<'static> {
    let value = is_value.then_some(b"value".as_slice());
    Record { offset: offset(at), timestamp_ms: 0, key: Some(key.as_bytes()), value, headers: &[] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_snapshot_and_what_follows_it_end_where_all_records_do(
        before in vec(changes(), 0..10),
        name in select(vec!["t/a", "t/a*", "t/*"]),
        is_conflated in any::<bool>(),
        steps in steps(),
    ) {
        let mut log = KeptPartition::new();
        before.into_iter().for_each(|changes| log.append(changes));
        let channel: tailcast_proto::Channel = name.parse().expect("tests name channels");
        let mode = if is_conflated { DeliveryMode::Conflated { interval: None } } else { DeliveryMode::Lossless };
        let node_channel = Arc::new(NodeChannel { channel: channel.clone(), alias: 3, home: None });
        let ringer = Ringer::new(Arc::new(Doorbell::default()), CursorId(0));
        let lease = Lease::of(&log.partition);
        let started_at = log.partition.head();
        let mut cursor = Cursor::new(lease, &node_channel, PROTO, (StartAt::LastValues, mode), ringer);
        let mut outcome = CursorOutput::default();
        let mut ended_at = None;

        let now = Instant::now();
        let gather = |cursor: &mut Cursor, outcome: &mut CursorOutput, (budget, is_behind), ended_at: &mut Option<SnapshotEnded>| {
            let follow_up = outcome.gather(cursor, GatherRequest { budget, is_behind, now });
            if cursor.take_snapshot_end() {
                let ended = SnapshotEnded { delivered: outcome.delivered.len(), at: cursor.next() };
                assert!(ended_at.replace(ended).is_none(), "it ends once");
            }
            follow_up
        };
        for step in steps {
            match step {
                Step::Append(changes) => log.append(changes),
                Step::Evict => drop(log.partition.evict_oldest()),
                Step::Gather { budget, is_behind } => {
                    gather(&mut cursor, &mut outcome, (budget, is_behind), &mut ended_at);
                }
                Step::Answer { length } => if let Some(from) = outcome.asked.take() {
                    cursor.take_page(Ok(&log.page(from, length))).expect("the topic is there");
                },
            }
        }
        for _ in 0..1_000 {
            if let Some(from) = outcome.asked.take() {
                let page = log.page(from, 4);
                outcome.cached.push(Arc::clone(&page));
                cursor.take_page(Ok(&page)).expect("the topic is there");
            }
            if gather(&mut cursor, &mut outcome, (50, false), &mut ended_at) == FollowUp::Idle && outcome.asked.is_none() {
                break;
            }
        }

        prop_assert!(outcome.delivered.is_sorted_by(|one, next| one < next), "{:?}", outcome.delivered);
        let own = |record: &&(i64, &'static str, bool)| channel.matches(Some(record.1.as_bytes()));
        let (mut expected, mut found) = (ClientState::default(), ClientState::default());
        log.records.iter().filter(own).for_each(|record| expected.apply(*record));
        log.records.iter().filter(|record| outcome.delivered.contains(&record.0)).for_each(|record| found.apply(*record));
        prop_assert_eq!(&found.0, &expected.0);
        // Every record after the start was delivered, or counted as left out for a newer one.
        let after = log.records.iter().filter(own).filter(|record| record.0 >= started_at.get()).count() as u64;
        let delivered = outcome.delivered.iter().filter(|at| **at >= started_at.get()).count() as u64;
        let skipped: u64 = outcome.conflated.iter().map(|range| range.records).sum();
        prop_assert_eq!(after, delivered + skipped);
        // At the end of the snapshot the client had every key that existed then.
        let ended = ended_at.expect("it ended");
        let (mut expected, mut found) = (ClientState::default(), ClientState::default());
        let by_then = log.records.iter().filter(own).filter(|record| record.0 < ended.at.get());
        by_then.for_each(|record| expected.apply(*record));
        let of_it = &outcome.delivered[..ended.delivered];
        log.records.iter().filter(|record| of_it.contains(&record.0)).for_each(|record| found.apply(*record));
        prop_assert_eq!(found.0, expected.0);
    }
}
