//! Windows and logs against a simple model: a vector of all records ever appended.

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, prop_oneof, proptest},
    sample::select,
};
use prost::Message as _;
use tailcast_proto::{delivery::Format, push::v1};

use super::*;
use crate::{log::channel_log::LogRead, record::batch::tests::batch};

const PROTO: Encoding = Encoding { format: Format::Proto, headers: false };

fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

fn channel(name: &str) -> Arc<NodeChannel> {
    let channel: tailcast_proto::Channel = name.parse().expect("tests name channels");
    let home = (!channel.spans_keys()).then(|| PartitionId::new(0));
    Arc::new(NodeChannel { channel, alias: 7, home })
}

fn offsets(encoded: &[Bytes]) -> Vec<i64> {
    let message =
        v1::ServerMessage::decode(encoded.concat().as_slice()).expect("chunks concatenate to a message");
    let offset = |frame: v1::Frame| match frame.frame {
        Some(v1::frame::Frame::Delivery(delivery)) => delivery.offset,
        other => panic!("a log holds deliveries, found {other:?}"),
    };
    message.frames.into_iter().map(offset).collect()
}

/// Reads everything from `next` on with a small budget. `None` if the log does not have it.
fn read(log: &ChannelLog, mut next: Offset) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    loop {
        match log.chunks(|chunks| chunks.read(next, 40, &mut found)) {
            LogRead::Behind => return None,
            LogRead::Deliveries { next: reached, more, .. } => {
                next = reached;
                if !more {
                    return Some(offsets(&found));
                }
            }
        }
    }
}

#[test]
fn a_log_has_only_its_own_channel() {
    let mut window = Window::new(PartitionId::new(0), offset(0));
    let logs = ["t/a", "t/ab", "t/a*", "t/*"].map(|name| window.attach(&channel(name), PROTO, offset(0)));
    window.append(batch(&[(0, "a"), (1, "ab"), (2, "b"), (3, "abc")]));

    let found = logs.map(|log| read(&log, offset(0)).expect("nothing was evicted"));
    assert_eq!(found, [vec![0], vec![1], vec![0, 1, 3], vec![0, 1, 2, 3]]);
}

#[test]
fn a_first_subscriber_resumes_from_the_window() {
    let mut window = Window::new(PartitionId::new(0), offset(5));
    window.append(batch(&[(5, "a"), (6, "b"), (7, "a")]));
    window.append(batch(&[(9, "a")]));

    let log = window.attach(&channel("t/a"), PROTO, offset(6));
    assert_eq!(read(&log, offset(6)), Some(vec![7, 9]));
    assert_eq!(read(&log, offset(5)), None, "the log was not asked to reach back to 5");
    let log = window.attach(&channel("t/a"), PROTO, offset(5));
    assert_eq!(read(&log, offset(5)), Some(vec![5, 7, 9]));
    let log = window.attach(&channel("t/a"), PROTO, offset(4));
    assert_eq!(read(&log, offset(4)), None, "the window never had 4");
}

#[test]
fn evicting_frees_all_memory() {
    let mut window = Window::new(PartitionId::new(0), offset(0));
    let empty = window.memory();
    let log = window.attach(&channel("t/*"), PROTO, offset(0));
    for first in 0..10 {
        window.append(batch(&[(first * 2, "a"), (first * 2 + 1, "b")]));
    }
    let json = Encoding { format: Format::Json, headers: true };
    let other = window.attach(&channel("t/b"), json, offset(4));
    window.detach(&other);
    while window.evict_oldest() {}

    assert_eq!((window.tail(), window.head()), (offset(20), offset(20)));
    assert_eq!(window.memory(), empty);
    assert_eq!(read(&log, offset(19)), None);
    assert_eq!(read(&log, offset(20)), Some(vec![]));
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(i64, &'static str)>),
    EvictOldest,
    Attach(&'static str),
    Detach(&'static str),
    Restart(i64),
}

const CHANNELS: [&str; 5] = ["t/a", "t/b", "t/ab", "t/a*", "t/*"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (1..4_i64, select(vec!["a", "b", "ab", "abc"]));
    let step = prop_oneof![
        6 => vec(record, 1..6).prop_map(Step::Append),
        2 => proptest::strategy::Just(Step::EvictOldest),
        3 => select(CHANNELS.to_vec()).prop_map(Step::Attach),
        1 => select(CHANNELS.to_vec()).prop_map(Step::Detach),
        1 => (0..5_i64).prop_map(Step::Restart),
    ];
    vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_cursor_reads_the_models_records_or_learns_that_it_is_behind(steps in steps(), back in 0..30_i64) {
        let mut window = Window::new(PartitionId::new(0), offset(0));
        let mut model: Vec<(i64, &str)> = Vec::new();
        let mut attached: Vec<Arc<ChannelLog>> = Vec::new();
        for step in steps {
            match step {
                Step::Append(records) => {
                    // Each step contains the distance to the next offset; compaction leaves such
                    // gaps.
                    let mut next = window.head().get() - 1;
                    let records: Vec<_> = records.into_iter().map(|(jump, key)| { next += jump; (next, key) }).collect();
                    model.extend(&records);
                    window.append(batch(&records));
                }
                Step::EvictOldest => drop(window.evict_oldest()),
                Step::Attach(name) => {
                    let from = offset((window.head().get() - back).max(0));
                    let known = attached.iter().find(|log| log.channel.channel.to_string() == name);
                    let channel = known.map_or_else(|| channel(name), |log| Arc::clone(&log.channel));
                    let log = window.attach(&channel, PROTO, from);
                    if known.is_none() {
                        attached.push(log);
                    }
                }
                Step::Detach(name) => attached.retain(|log| {
                    let keep = log.channel.channel.to_string() != name;
                    if !keep {
                        window.detach(log);
                    }
                    keep
                }),
                Step::Restart(jump) => {
                    window.restart(offset(window.head().get() + jump));
                    model.clear();
                }
            }

            let (tail, head) = (window.tail().get(), window.head().get());
            for log in &attached {
                let complete_from = log.chunks(|chunks| chunks.complete_from()).get();
                assert!(complete_from <= head);
                for next in [tail - 1, complete_from - 1, complete_from, i64::midpoint(complete_from, head), head] {
                    let Some(next) = Offset::new(next) else { continue };
                    let channel = &log.channel.channel;
                    let expected = model
                        .iter()
                        .filter(|(at, key)| *at >= next.get() && channel.matches(Some(key.as_bytes())))
                        .map(|(at, _)| *at)
                        .collect();
                    let expected = (next.get() >= complete_from).then_some(expected);
                    assert_eq!(read(log, next), expected, "{channel} from {next}");
                }
            }
        }
        for log in &attached {
            window.detach(log);
        }
        while window.evict_oldest() {}
        assert_eq!(window.memory(), 0, "all that was counted in was counted out");
    }
}
