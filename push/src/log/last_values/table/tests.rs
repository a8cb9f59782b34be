//! A table against a simple model: a vector of records. Whatever the order of the feed, the loader
//! and the readers, and whatever compaction and retention remove, the table has the model's values.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::select,
};

use super::*;
use crate::record::batch::RecordBatchBuilder;

/// A record of the model: offset, key, and whether it has a value.
type Known = (i64, &'static str, bool);

fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

fn value_at(at: i64) -> String {
    format!("value at {at}")
}

fn batch(records: &[Known]) -> Option<RecordBatch> {
    let mut builder = RecordBatchBuilder::default();
    for (at, key, has_value) in records {
        let value = value_at(*at);
        builder.push(&Record {
            offset: offset(*at),
            timestamp_ms: 1_000 + at,
            key: (*key != NO_KEY).then_some(key.as_bytes()),
            value: has_value.then_some(value.as_bytes()),
            headers: b"h",
        });
    }
    builder.build()
}

const NO_KEY: &str = "";
const KEYS: [&str; 5] = ["a", "ab", "abc", "b", NO_KEY];
const CHANNELS: [&str; 3] = ["t/ab", "t/a*", "t/*"];

/// All records of a partition that retention has left.
#[derive(Debug, Default)]
struct Model {
    records: Vec<Known>,
    end: i64,
}

impl Model {
    /// Appends records, each with its distance to the previous offset.
    fn grow(&mut self, records: Vec<(i64, &'static str, bool)>) -> Vec<Known> {
        let mut at = self.end - 1;
        let grown: Vec<_> = records
            .into_iter()
            .map(|(jump, key, has_value)| {
                at += jump;
                (at, key, has_value)
            })
            .collect();
        self.records.extend(&grown);
        self.end = at + 1;
        grown
    }

    /// Returns the latest record of each key before `until` in offset order, including tombstones.
    fn latest(&self, until: i64) -> Vec<Known> {
        let before: Vec<_> = self.records.iter().filter(|(at, ..)| *at < until).collect();
        let is_latest = |(at, key, _): &Known| !before.iter().any(|(other, of, _)| of == key && other > at);
        before
            .iter()
            .filter(|record| record.1 != NO_KEY && is_latest(record))
            .map(|record| **record)
            .collect()
    }

    /// Returns the last values before `until`.
    fn values(&self, until: i64) -> Vec<Known> {
        let mut latest = self.latest(until);
        latest.retain(|(.., has_value)| *has_value);
        latest
    }

    /// Returns a page as Kafka has it at this time: up to `length` records from an offset on.
    /// Compaction may have removed records that have a later one of their key.
    fn page(&self, from: i64, length: usize, is_compacted: bool) -> (Vec<Known>, i64) {
        let latest = self.latest(i64::MAX);
        let stays = |record: &&Known| !is_compacted || latest.contains(record);
        let kept = self.records.iter().filter(|(at, ..)| *at >= from).filter(stays);
        let page: Vec<_> = kept.take(length).copied().collect();
        let to = if page.len() < length { self.end } else { page[length - 1].0 + 1 };
        (page, to)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(i64, &'static str, bool)>),
    /// Loads a page with this number of records.
    Load(usize, bool),
    /// Retention removes this number of the oldest records.
    Expire(usize),
    Begin(&'static str),
    /// Each reader reads this number of bytes and steps.
    Read(usize, usize),
}

fn records(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(i64, &'static str, bool)>> {
    vec((1..4_i64, select(KEYS.to_vec()), proptest::bool::weighted(0.75)), count)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => records(1..5).prop_map(Step::Append),
        6 => (1..5_usize, any::<bool>()).prop_map(|(length, is_compacted)| Step::Load(length, is_compacted)),
        1 => (0..3_usize).prop_map(Step::Expire),
        2 => select(CHANNELS.to_vec()).prop_map(Step::Begin),
        6 => (0..60_usize, 1..6_usize).prop_map(|(budget, steps)| Step::Read(budget, steps)),
    ];
    vec(step, 1..50)
}

/// A reader, with the bounds of the table when it began.
struct Reader {
    channel: Channel,
    next: Offset,
    until: Offset,
    taken: Vec<i64>,
}

impl Reader {
    fn begin(table: &LastValueTable, channel: &str) -> Self {
        let channel = channel.parse().expect("tests name channels");
        Self { channel, next: Offset::ZERO, until: table.covered_to, taken: Vec::new() }
    }

    fn read(&mut self, table: &LastValueTable, budget: usize, steps: usize) -> bool {
        let unread = table.unread(&self.channel, (self.next, self.until), budget, steps);
        for (at, value) in &unread.values {
            assert!(*at >= self.next && *at < unread.next, "offsets grow");
            self.next = at.next();
            assert_eq!(value.record(*at).value, Some(value_at(at.get()).as_bytes()));
            self.taken.push(at.get());
        }
        assert!(unread.next >= self.next && (!unread.more || !unread.values.is_empty() || steps > 0));
        self.next = unread.next;
        unread.more
    }

    /// Reads to the end, and compares the result with the model as it is then.
    fn finish(mut self, table: &LastValueTable, model: &Model) {
        while self.read(table, 40, 3) {}
        assert_eq!(self.next, self.until, "a reader arrives where the log goes on");
        let until = self.until.get();
        let matches = |(_, key, _): &Known| self.channel.matches(Some(key.as_bytes()));
        let before: Vec<_> = model.values(until).into_iter().filter(matches).map(|(at, ..)| at).collect();
        let since = |at: &i64| {
            let key = model.records.iter().find(|record| record.0 == *at).expect("it is known").1;
            model.records.iter().any(|(later, of, _)| *of == key && *later >= until)
        };
        assert!(
            self.taken.iter().all(|at| before.contains(at)),
            "only last values are taken: {:?}",
            self.taken
        );
        let missing: Vec<_> = before.iter().filter(|at| !self.taken.contains(at)).collect();
        assert!(
            missing.into_iter().all(since),
            "values that were not read follow in the log: {:?}",
            self.taken
        );
    }
}

#[track_caller]
fn assert_is(table: &LastValueTable, model: &Model) {
    let found: Vec<_> = table.values.iter().map(|(at, value)| (at.get(), value.key().to_owned())).collect();
    let expected = model.values(i64::MAX).into_iter().map(|(at, key, _)| (at, key.as_bytes().to_owned()));
    assert_eq!(found, expected.collect::<Vec<_>>());
    let memory =
        |(at, key): &(i64, Vec<u8>)| key.len() + value_at(*at).len() + 1 + LastValueTable::OVERHEAD_BYTES;
    assert_eq!(
        table.memory(),
        found.iter().map(memory).sum::<usize>(),
        "memory is returned as it was counted"
    );
    assert_eq!(table.latest.len(), found.len(), "deleted keys are not kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_table_has_what_the_model_has_and_readers_take_it_once(before in records(0..20), steps in steps()) {
        let mut model = Model::default();
        model.grow(before);
        let mut table = LastValueTable::new(offset(model.end));
        let (feed_from, mut loaded_to) = (model.end, 0);
        let mut readers: Vec<Reader> = Vec::new();
        // Finally the loader reaches its end.
        let rest = std::iter::repeat_n(Step::Load(3, true), 30);
        for step in steps.into_iter().chain(rest) {
            match step {
                Step::Append(records) => {
                    let grown = model.grow(records);
                    table.append(&batch(&grown).expect("there are some"));
                }
                Step::Load(..) if table.is_loaded() => {}
                Step::Load(length, is_compacted) => {
                    let (page, to) = model.page(loaded_to, length, is_compacted);
                    table.load(batch(&page).iter().flat_map(RecordBatch::records), offset(to.max(loaded_to)));
                    loaded_to = to;
                }
                // The loader finds out when it requests an expired page.
                Step::Expire(count) => {
                    let unread = model.records.iter().filter(|(at, ..)| *at >= loaded_to && *at < feed_from);
                    let low = unread.take(count).last().map(|(at, ..)| at + 1);
                    if let Some(low) = low.filter(|_| !table.is_loaded()) {
                        model.records.retain(|(at, ..)| *at >= low);
                        table.expire_before(offset(low));
                        loaded_to = low;
                    }
                }
                Step::Begin(channel) if table.is_loaded() => readers.push(Reader::begin(&table, channel)),
                Step::Begin(_) => {}
                Step::Read(budget, steps) => {
                    for reader in &mut readers {
                        reader.read(&table, budget, steps);
                    }
                }
            }
            if table.is_loaded() {
                assert_is(&table, &model);
            }
        }
        assert!(table.is_loaded());
        assert_is(&table, &model);
        for reader in readers {
            reader.finish(&table, &model);
        }
    }
}

#[track_caller]
fn check(
    table: &LastValueTable,
    channel: &str,
    (next, until): (i64, i64),
    limits: (usize, usize),
    expected: (&[i64], i64, bool),
) {
    let channel = channel.parse().expect("tests name channels");
    let unread = table.unread(&channel, (offset(next), offset(until)), limits.0, limits.1);
    let found: Vec<_> = unread.values.iter().map(|(at, _)| at.get()).collect();
    assert_eq!(
        (&*found, unread.next.get(), unread.more),
        expected,
        "{channel} {next}..{until} by {limits:?}"
    );
}

#[test]
fn a_reader_takes_the_values_of_its_channel_within_its_bounds() {
    let mut table = LastValueTable::new(offset(0));
    table.append(&batch(&[(0, "a", true), (1, "b", true), (3, "ab", true), (4, "abc", true)]).expect("some"));
    let wide = (1_000, 1_000);
    check(&table, "t/*", (0, 5), wide, (&[0, 1, 3, 4], 5, false));
    check(&table, "t/a*", (0, 5), wide, (&[0, 3, 4], 5, false));
    check(&table, "t/ab", (0, 5), wide, (&[3], 5, false));
    check(&table, "t/ab", (4, 5), wide, (&[], 5, false));
    check(&table, "t/other", (0, 5), wide, (&[], 5, false));
    check(&table, "t/*", (0, 4), wide, (&[0, 1, 3], 4, false));
    check(&table, "t/*", (7, 5), wide, (&[], 7, false));
    // At least one value, however small the budget, and no more once it is used up.
    check(&table, "t/*", (0, 5), (0, 1_000), (&[0], 1, true));
    check(&table, "t/*", (1, 5), (13, 1_000), (&[1, 3], 4, true));
    check(&table, "t/b", (0, 5), (0, 1_000), (&[1], 5, false));
    // A prefix of few keys among many takes several reads.
    check(&table, "t/ab*", (0, 5), (1_000, 2), (&[], 3, true));
    check(&table, "t/ab*", (3, 5), (1_000, 2), (&[3, 4], 5, false));
}

#[test]
fn an_update_moves_a_value_and_a_tombstone_removes_it() {
    let mut table = LastValueTable::new(offset(0));
    let whole = (1_000, 1_000);
    table.append(&batch(&[(0, "a", true), (1, "b", true)]).expect("some"));
    table.append(&batch(&[(2, "a", true)]).expect("some"));
    check(&table, "t/*", (0, 9), whole, (&[1, 2], 9, false));
    table.append(&batch(&[(3, "a", false), (5, NO_KEY, true)]).expect("some"));
    check(&table, "t/*", (0, 9), whole, (&[1], 9, false));
    assert_eq!((table.covered_to, table.len()), (offset(6), 1));
}

#[test]
fn the_loader_does_not_restore_values_that_the_feed_saw_deleted() {
    let mut table = LastValueTable::new(offset(10));
    table.append(&batch(&[(10, "a", false), (11, "b", true)]).expect("some"));
    let page = batch(&[(3, "a", true), (4, "b", true), (5, "ab", true), (11, "b", true)]).expect("some");
    table.load(page.records(), offset(12));
    assert!(table.is_loaded());
    check(&table, "t/*", (0, 12), (1_000, 1_000), (&[5, 11], 12, false));
}

#[test]
fn a_restarted_partition_has_no_earlier_values() {
    let mut table = LastValueTable::new(offset(10));
    table.append(&batch(&[(10, "a", true)]).expect("some"));
    table.restart(offset(50));
    assert!(table.is_loaded(), "Kafka has nothing before the head");
    table.append(&batch(&[(50, "b", true)]).expect("some"));
    check(&table, "t/*", (0, 51), (1_000, 1_000), (&[50], 51, false));
}
