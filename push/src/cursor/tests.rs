//! A cursor against the plainest model there is: a vector of records. Whatever the feed, the budget, retention and the
//! socket do meanwhile, it hands out exactly what the model has from its start on, once, in order.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::select,
};
use prost::Message as _;
use tailcast_proto::{Epoch, PartitionId, TopicName, delivery::Format, push::v1};

use super::*;
use crate::{
    doorbell::{CursorId, Doorbell},
    partition::Budget,
    record_batch::{Record, RecordBatchBuilder, tests::batch},
};

const PROTO: Encoding = Encoding { format: Format::Proto, headers: false };

fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

fn partition(head: i64) -> Arc<Partition> {
    let topic = TopicName::parse("t").expect("it is a name");
    Partition::new(topic, Epoch::from_bits(1, 2), PartitionId::new(0), offset(head), Budget::new(usize::MAX))
}

fn cursor(partition: &Arc<Partition>, name: &str, next: i64) -> Cursor {
    let channel = Arc::new(NodeChannel { channel: name.parse().expect("tests name channels"), alias: 3 });
    let ringer = Ringer::new(Arc::new(Doorbell::default()), CursorId(0));
    Cursor::new(Lease::of(partition), &channel, PROTO, offset(next), ringer)
}

fn offsets(encoded: &[Bytes]) -> Vec<i64> {
    let message =
        v1::ServerMessage::decode(encoded.concat().as_slice()).expect("parts concatenate to a message");
    let offset = |frame: v1::Frame| match frame.frame {
        Some(v1::frame::Frame::Delivery(delivery)) => delivery.offset,
        other => panic!("a cursor hands out deliveries, found {other:?}"),
    };
    message.frames.into_iter().map(offset).collect()
}

/// Kafka as a test needs it: all records, the first that is retained, and pages of some length.
#[derive(Default)]
struct Kafka {
    records: Vec<(i64, &'static str)>,
    low: i64,
}

impl Kafka {
    /// Reads a page as a reader does: up to `length` records, or to the end, which is not before the window's tail.
    fn page(&self, from: Offset, length: usize, tail: Offset) -> Result<Arc<Page>, PageError> {
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
enum Step {
    /// Records of these keys, each so far behind the last.
    Append(Vec<(i64, &'static str)>),
    Evict,
    /// Retention removes so many of the oldest records.
    Expire(usize),
    Gather {
        budget: usize,
    },
    /// The page that was asked for comes.
    Answer {
        length: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (1..4_i64, select(vec!["a", "b", "ab"]));
    let step = prop_oneof![
        4 => vec(record, 1..6).prop_map(Step::Append),
        3 => proptest::strategy::Just(Step::Evict),
        1 => (0..4_usize).prop_map(Step::Expire),
        4 => (1..100_usize).prop_map(|budget| Step::Gather { budget }),
        4 => (1..5_usize).prop_map(|length| Step::Answer { length }),
    ];
    vec(step, 1..60)
}

/// What a cursor handed out and said to be lost.
#[derive(Default)]
struct Outcome {
    delivered: Vec<i64>,
    lost: Vec<Lost>,
    asked: Option<Offset>,
    shelf: Vec<Arc<Page>>,
}

impl Outcome {
    fn gather(&mut self, cursor: &mut Cursor, budget: usize) -> Then {
        let mut out = Vec::new();
        let gathered = cursor.gather(budget, &mut out);
        let found = offsets(&out);
        assert_eq!(gathered.deliveries, found.len() as u64);
        self.delivered.extend(found);
        if let Then::Page(at) = gathered.then {
            assert_eq!(self.asked.replace(at), None, "a page is asked for once");
        }
        gathered.then
    }

    fn answer(&mut self, cursor: &mut Cursor, kafka: &Kafka, length: usize) {
        if let Some(from) = self.asked.take() {
            let page = kafka.page(from, length, cursor.partition().tail());
            self.lost
                .extend(cursor.take_page(page.as_ref().map_err(|error| *error)).expect("the topic is there"));
            // Some pages stay on the shelf, others are gone when the cursor comes to them.
            if length.is_multiple_of(2) {
                self.shelf.extend(page);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_cursor_hands_out_every_record_from_its_start_on_once_and_in_order(
        before in vec((1..4_i64, select(vec!["a", "b", "ab"])), 0..20),
        back in any::<proptest::sample::Index>(),
        name in select(vec!["t/a", "t/a*", "t/*"]),
        steps in steps(),
    ) {
        // What was appended before anybody watched is in Kafka, and in no window.
        let mut kafka = Kafka::default();
        let mut end = 0;
        for (jump, key) in before {
            kafka.records.push((end + jump - 1, key));
            end += jump;
        }
        let partition = partition(end);
        let start = i64::try_from(back.index(usize::try_from(end).expect("it grows") + 1)).expect("it is small");
        let mut cursor = cursor(&partition, name, start);
        let mut outcome = Outcome::default();

        for step in steps {
            let seen = cursor.next();
            match step {
                Step::Append(records) => {
                    let mut at = partition.head().get() - 1;
                    let records: Vec<_> = records.into_iter().map(|(jump, key)| { at += jump; (at, key) }).collect();
                    kafka.records.extend(&records);
                    partition.append(batch(&records));
                }
                Step::Evict => drop(partition.evict_oldest()),
                Step::Expire(count) => {
                    // Retention may remove what a cursor still needs, but never what the tail has not read.
                    let remaining = kafka.records.iter().filter(|(at, _)| *at >= kafka.low);
                    let low = remaining.map(|(at, _)| *at + 1).take(count).last().unwrap_or(kafka.low);
                    kafka.low = low.min(partition.head().get());
                }
                Step::Gather { budget } => drop(outcome.gather(&mut cursor, budget)),
                Step::Answer { length } => outcome.answer(&mut cursor, &kafka, length),
            }
            assert!(cursor.next() >= seen, "a cursor goes forward");
        }
        // In the end everything is quiet, and the cursor arrives.
        for _ in 0..1_000 {
            outcome.answer(&mut cursor, &kafka, 4);
            if outcome.gather(&mut cursor, 50) == Then::Rest && outcome.asked.is_none() {
                break;
            }
        }

        assert_eq!(cursor.next(), partition.head().max(offset(start)), "the cursor arrived");
        assert!(!cursor.is_catching_up());
        let channel: tailcast_proto::Channel = name.parse().expect("tests name channels");
        let is_lost = |at: i64| outcome.lost.iter().any(|lost| lost.first.get() <= at && at < lost.next.get());
        let expected: Vec<_> = kafka
            .records
            .iter()
            .filter(|(at, key)| *at >= start && channel.matches(Some(key.as_bytes())))
            .map(|(at, _)| *at)
            .filter(|at| !is_lost(*at))
            .collect();
        assert_eq!(outcome.delivered, expected);
    }
}

#[test]
fn a_quiet_channel_moves_on_with_its_partition() {
    let partition = partition(0);
    let mut cursor = cursor(&partition, "t/quiet", 0);
    partition.append(batch(&[(0, "busy"), (1, "busy")]));
    while partition.evict_oldest() {}
    let mut outcome = Outcome::default();
    assert_eq!(
        outcome.gather(&mut cursor, 100),
        Then::Rest,
        "it missed nothing, so it needs nothing of Kafka"
    );
    assert_eq!((outcome.delivered, cursor.progress()), (vec![], Some(offset(2))));
    assert_eq!(cursor.progress(), None, "what was said is not said again");
}
