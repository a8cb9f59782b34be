//! The last values of a topic through their public functions.

use bytes::Bytes;
use futures_util::FutureExt as _;
use prost::Message as _;
use tailcast_proto::{Offset, PartitionId, delivery::Format, push::v1};

use super::*;
use crate::{
    log::{
        last_values::partition::{LastValuesError, LastValuesRead, PartitionLastValues},
        page::Page,
    },
    record::{
        batch::{RecordBatch, tests::batch},
        channel::{Encoding, NodeChannel},
    },
};

const ENCODING: Encoding = Encoding { format: Format::Proto, headers: false };
const WHOLE: usize = 1_000_000;

fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

fn topic(name: &str, budget: &Arc<LastValuesBudget>) -> Arc<TopicLastValues> {
    TopicLastValues::new(TopicName::parse(name).expect("it is a name"), Arc::clone(budget))
}

fn page(from: i64, to: i64, batch: RecordBatch) -> Page {
    Page::new(offset(from), offset(to), Some(batch))
}

/// Reads `t/*` before `until`. Returns the offsets and the result of the read.
fn read(
    kept: &PartitionLastValues,
    next: i64,
    until: i64,
    budget: usize,
) -> Option<(Vec<i64>, LastValuesRead)> {
    let channel = "t/*".parse().expect("it is a channel");
    let channel = NodeChannel { channel, alias: 3, home: None };
    let mut out: Vec<Bytes> = Vec::new();
    let range = (offset(next), offset(until));
    let read = kept.read(range, budget, WHOLE, (&channel, ENCODING, PartitionId::new(0)), &mut out)?;
    let message = v1::ServerMessage::decode(out.concat().as_slice()).expect("deliveries are a message");
    let offsets = message.frames.into_iter().map(|frame| match frame.frame {
        Some(v1::frame::Frame::Delivery(delivery)) => delivery.offset,
        other => panic!("they are deliveries, found {other:?}"),
    });
    Some((offsets.collect(), read))
}

#[test]
fn last_values_can_be_read_once_they_are_loaded() {
    let kept = PartitionLastValues::of(&topic("t", &LastValuesBudget::new(WHOLE)), offset(10));
    kept.append(&batch(&[(10, "a")]));
    assert_eq!(kept.loaded().now_or_never(), None);
    assert_eq!(read(&kept, 0, 11, WHOLE), None, "a part of them would be taken for all");
    assert_eq!(kept.load_until(), Some(offset(10)));

    kept.load(&page(4, 9, batch(&[(4, "a"), (8, "b")])));
    assert_eq!(kept.loaded().now_or_never(), None);
    kept.load(&page(9, 12, batch(&[(9, "c"), (10, "a")])));

    assert_eq!(kept.loaded().now_or_never(), Some(Ok(())));
    assert_eq!(kept.load_until(), None);
    let rest = LastValuesRead { deliveries: 3, next: offset(11), more: false };
    assert_eq!(read(&kept, 0, 11, WHOLE), Some((vec![8, 9, 10], rest)));
}

#[test]
fn a_read_ends_with_its_budget_and_continues_there() {
    let kept = PartitionLastValues::of(&topic("t", &LastValuesBudget::new(WHOLE)), offset(0));
    let keys: Vec<_> = (0..100).map(|key: i64| (key, key.to_string())).collect();
    kept.append(&batch(&keys.iter().map(|(at, key)| (*at, key.as_str())).collect::<Vec<_>>()));
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let (offsets, read) = read(&kept, next, 100, 50).expect("they are loaded");
        // A delivery takes about 25 bytes, more than its value alone.
        assert!((1..=3).contains(&offsets.len()), "{offsets:?}");
        assert_eq!(read.deliveries, offsets.len() as u64);
        found.extend(offsets);
        next = read.next.get();
        if !read.more {
            break;
        }
    }
    assert_eq!((found, next), ((0..100).collect(), 100));
}

#[test]
fn without_earlier_records_there_is_nothing_to_load() {
    let kept = PartitionLastValues::of(&topic("t", &LastValuesBudget::new(WHOLE)), Offset::ZERO);
    assert_eq!(kept.loaded().now_or_never(), Some(Ok(())));
}

#[test]
fn a_topic_over_the_limit_keeps_nothing_and_the_others_continue() {
    let budget = LastValuesBudget::new(2_000);
    let (small, large) = (topic("small", &budget), topic("large", &budget));
    let kept = PartitionLastValues::of(&small, offset(0));
    kept.append(&batch(&[(0, "a"), (1, "b")]));
    let used = budget.used();
    let (first, second) =
        (PartitionLastValues::of(&large, offset(0)), PartitionLastValues::of(&large, offset(5)));

    first.append(&batch(&[(0, "a"), (1, "b")]));
    second.append(&batch(&[(5, "c")]));
    assert!(!large.is_too_large());
    second.append(&batch(&[(6, "d"), (7, "e"), (8, "f"), (9, "g")]));

    assert!(large.is_too_large() && !small.is_too_large());
    assert_eq!(
        (first.loaded().now_or_never(), read(&first, 0, 9, WHOLE)),
        (Some(Err(LastValuesError::TooLarge)), None)
    );
    assert_eq!(
        second.loaded().now_or_never(),
        Some(Err(LastValuesError::TooLarge)),
        "waiting callers are notified"
    );
    assert_eq!((large.count(), budget.used()), (0, used), "all its memory is returned");
    let later = PartitionLastValues::of(&large, offset(0));
    later.append(&batch(&[(0, "a")]));
    assert_eq!(
        later.loaded().now_or_never(),
        Some(Err(LastValuesError::TooLarge)),
        "also for a partition that is added later"
    );
    kept.append(&batch(&[(2, "c")]));
    assert_eq!((small.count(), kept.loaded().now_or_never()), (3, Some(Ok(()))));
}

#[test]
fn a_closed_partition_notifies_its_waiters_and_returns_its_memory() {
    let budget = LastValuesBudget::new(WHOLE);
    let kept = PartitionLastValues::of(&topic("t", &budget), offset(10));
    kept.append(&batch(&[(10, "a")]));
    assert!(budget.used() > 0);
    let (loaded, unavailable) = (kept.loaded(), kept.unavailable());
    kept.close();
    assert_eq!(
        (loaded.now_or_never(), unavailable.now_or_never()),
        (Some(Err(LastValuesError::Closed)), Some(()))
    );
    drop(kept);
    assert_eq!(budget.used(), 0);
}
