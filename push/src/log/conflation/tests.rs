//! Conflation against a simple model: a vector of keys, indexed by offset.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, proptest},
    sample::select,
};
use prost::Message as _;
use tailcast_proto::{PartitionId, delivery::Format, push::v1};

use super::*;
use crate::record::{
    batch::tests::batch,
    channel::{Encoding, NodeChannel},
    key_hash::KeyHash,
};

fn offset(offset: usize) -> Offset {
    Offset::new(i64::try_from(offset).expect("tests are small")).expect("it is not negative")
}

/// Encodes batches of keys as chunks of `t/*`.
fn chunks(batches: &[Vec<&str>]) -> Vec<Chunk> {
    let all = NodeChannel { channel: "t/*".parse().expect("it is a channel"), alias: 1, home: None };
    let encoding = Encoding { format: Format::Proto, headers: false };
    let mut at = 0;
    let chunk = |keys: &Vec<&str>| {
        let records: Vec<_> = keys.iter().zip(at..).map(|(key, at)| (at, *key)).collect();
        at += i64::try_from(keys.len()).expect("tests are small");
        let whole = (Offset::ZERO, offset(usize::MAX >> 1));
        Chunk::of(&batch(&records), whole, PartitionId::new(0), &all, encoding).expect("it has records")
    };
    batches.iter().map(chunk).collect()
}

/// Scans all chunks, without a limit of keys.
fn offset_map(chunks: &[Chunk]) -> OffsetMap {
    let mut offset_map = OffsetMap::new(OffsetMapLimit::new(usize::MAX));
    for chunk in chunks {
        (0..chunk.len()).for_each(|number| offset_map.insert(chunk.key(number), chunk.offset(number)));
    }
    offset_map
}

fn read(
    chunks: &[Chunk],
    (from, until): (Offset, Offset),
    budget: usize,
    out: &mut Vec<Bytes>,
) -> LatestRead {
    let offset_map = offset_map(chunks);
    let mut reader = LatestReader::new(&offset_map, (from, until), budget, out);
    let _is_full = chunks.iter().all(|chunk| reader.take(chunk));
    reader.finish()
}

fn offsets(encoded: &[Bytes]) -> Vec<usize> {
    let message = v1::ServerMessage::decode(encoded.concat().as_slice()).expect("parts make a message");
    let offset = |frame: v1::Frame| match frame.frame {
        Some(v1::frame::Frame::Delivery(delivery)) => {
            usize::try_from(delivery.offset).expect("it is not negative")
        }
        other => panic!("a log holds deliveries, found {other:?}"),
    };
    message.frames.into_iter().map(offset).collect()
}

#[test]
fn the_latest_of_each_key_comes_in_the_order_of_offsets() {
    let chunks = chunks(&[vec!["a", "b", "a"], vec!["c"], vec!["a", "b"]]);
    let mut out = Vec::new();
    let read = read(&chunks, (offset(0), offset(6)), 1_000, &mut out);
    assert_eq!(offsets(&out), [3, 4, 5]);
    assert_eq!((read.deliveries, read.skipped, read.next, read.is_full), (3, 3, offset(6), false));
}

#[test]
fn records_beyond_the_budget_are_neither_delivered_nor_counted() {
    let chunks = chunks(&[vec!["a", "b", "a", "c", "b"]]);
    let mut out = Vec::new();
    let read = read(&chunks, (offset(0), offset(5)), 1, &mut out);
    assert_eq!(offsets(&out), [2], "one comes however small the budget is");
    assert_eq!((read.skipped, read.next, read.is_full), (2, offset(3), true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn reading_in_small_steps_delivers_the_latest_and_counts_the_rest(
        batches in vec(vec(select(vec!["a", "b", "c", "d"]), 1..6), 1..8),
        budgets in vec(1..200_usize, 1..40),
        from in 0..10_usize,
    ) {
        let (chunks, keys) = (chunks(&batches), batches.concat());
        let from = from.min(keys.len());
        let (mut out, mut next, mut skipped) = (Vec::new(), offset(from), 0);
        for budget in budgets.iter().cycle() {
            let read = read(&chunks, (next, offset(keys.len())), *budget, &mut out);
            assert!(read.next > next || !read.is_full, "it goes forward");
            (next, skipped) = (read.next, skipped + read.skipped);
            if !read.is_full {
                break;
            }
        }
        let latest: BTreeMap<_, _> = keys.iter().enumerate().skip(from).map(|(at, key)| (key, at)).collect();
        let mut expected: Vec<_> = latest.into_values().collect();
        expected.sort_unstable();
        assert_eq!(offsets(&out), expected);
        assert_eq!(skipped, (keys.len() - from - expected.len()) as u64);
    }

    #[test]
    fn whatever_was_scanned_no_record_is_left_out_without_a_newer_one(
        keys in vec(0..6_u8, 1..60),
        // Ranges scanned by several cursors, in any order.
        stretches in vec((0..60_usize, 0..60_usize), 0..8),
        keys_max in 0..6_usize,
    ) {
        let bound = OffsetMapLimit::new(keys_max);
        let mut offset_map = OffsetMap::new(Arc::clone(&bound));
        for (from, to) in stretches {
            let to = to.min(keys.len());
            let mut at = usize::try_from(offset_map.next_unscanned(offset(from)).get()).expect("it is not negative");
            assert!(at >= from);
            while at < to {
                offset_map.insert(KeyHash::of(Some(&[keys[at]])), offset(at));
                at += 1;
            }
            offset_map.mark_scanned(offset(from), offset(at.max(from)));
        }
        assert!(bound.used() <= keys_max, "the bound holds");
        for (at, key) in keys.iter().enumerate() {
            let has_newer = keys[at + 1..].contains(key);
            let is_latest = offset_map.is_latest(KeyHash::of(Some(&[*key])), offset(at));
            assert!(is_latest || has_newer, "record {at} has no newer one and is left out");
        }
        drop(offset_map);
        assert_eq!(bound.used(), 0);
    }
}
