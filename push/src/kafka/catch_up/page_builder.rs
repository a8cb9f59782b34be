//! A page under construction: which records belong to it, and when it is complete.
//!
//! Plain code: the reader passes it records, and the end of the partition when Kafka reports it.
//!
//! Invariant: the page has every record of the partition at or after `from` and before the page's
//! `to`. This holds even if a deposed leader reports an end before records that were already read
//! elsewhere.

use tailcast_proto::Offset;

use crate::{
    log::page::Page,
    record::batch::{Record, RecordBatchBuilder},
};

/// A page under construction.
#[derive(Debug)]
pub(super) struct PageBuilder {
    from: Offset,
    /// Where the next cached page begins.
    until: Option<Offset>,
    /// The window's tail when the read began. The partition has records up to there, or had.
    floor: Offset,
    /// The end that a broker returned when it was queried.
    confirmed_end: Option<Offset>,
    /// Whether Kafka reported the end of the partition.
    has_ended: bool,
    builder: RecordBatchBuilder,
}

/// What the end of the partition means for the page.
#[derive(Debug)]
pub(super) enum EndOfPartition {
    /// The page is complete.
    Page(Page),
    /// There is no record to read yet.
    Empty,
    /// The end lies before the window's tail: either the broker is outdated, or compaction or
    /// transactions left no records. Querying the end and reading once more tells which.
    Unconfirmed,
}

impl PageBuilder {
    pub(super) fn new(from: Offset, until: Option<Offset>, floor: Offset) -> Self {
        Self {
            from,
            until,
            floor,
            confirmed_end: None,
            has_ended: false,
            builder: RecordBatchBuilder::default(),
        }
    }

    /// Adds a record. Returns the page once it is complete.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Option<Page> {
        if record.offset < self.from {
            // Fetched for an earlier assignment.
            return None;
        }
        if let Some(until) = self.until
            && record.offset >= until
        {
            return Some(self.page(until));
        }
        self.builder.push(record);
        self.builder.is_full().then(|| self.page(record.offset.next()))
    }

    /// Takes that Kafka reported the end of the partition.
    ///
    /// Records read so far make a page. Without any, the end may be outdated, and continuing at the
    /// window's tail could omit records.
    pub(super) fn at_end(&mut self) -> EndOfPartition {
        self.has_ended = true;
        match self.builder.last_offset() {
            Some(last) => EndOfPartition::Page(self.page(last.next())),
            None if self.from >= self.floor => EndOfPartition::Empty,
            None if self.confirmed_end.is_some_and(|confirmed_end| confirmed_end >= self.floor) => {
                EndOfPartition::Page(self.page(self.floor))
            }
            None => EndOfPartition::Unconfirmed,
        }
    }

    /// Takes the end that a broker returned. Returns whether it can be right. If so, reading from
    /// `from` again reports an end at or after it, and records not found then do not exist.
    pub(super) fn confirm_end(&mut self, end: Offset) -> bool {
        self.confirmed_end = Some(end);
        end >= self.floor
    }

    /// Whether a consumer that has read a page up to `to` can continue from there. It cannot if it
    /// has to report the end of the partition again: librdkafka reports it once for each
    /// assignment.
    pub(super) fn can_continue(&self, to: Offset) -> bool {
        // The consumer has already returned a record beyond `until`.
        self.until != Some(to) && (!self.has_ended || to >= self.floor)
    }

    fn page(&mut self, to: Offset) -> Page {
        Page::new(self.from, to, self.builder.build())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::{btree_set, vec},
        prelude::{ProptestConfig, proptest},
    };

    use super::*;

    fn offset(offset: i64) -> Offset {
        Offset::new(offset).expect("tests use offsets")
    }

    fn record(at: i64) -> Record<'static> {
        Record { offset: offset(at), timestamp_ms: 0, key: None, value: None, headers: &[] }
    }

    fn bounds(end: &EndOfPartition) -> Option<(i64, i64)> {
        match end {
            EndOfPartition::Page(page) => Some((page.from.get(), page.to.get())),
            EndOfPartition::Empty | EndOfPartition::Unconfirmed => None,
        }
    }

    #[test]
    fn an_end_before_the_windows_tail_is_not_believed_at_once() {
        // The page extended to the window's tail as if there were no records in between. With a
        // deposed leader, or an end reported before the window moved on, it omitted records
        // silently.
        let mut page_builder = PageBuilder::new(offset(10), None, offset(20));
        assert!(matches!(page_builder.at_end(), EndOfPartition::Unconfirmed));
        assert!(!page_builder.confirm_end(offset(15)), "this broker is behind the window");
        assert!(matches!(page_builder.at_end(), EndOfPartition::Unconfirmed));
        assert!(page_builder.confirm_end(offset(25)));
        assert!(page_builder.take(&record(12)).is_none());
        assert_eq!(bounds(&page_builder.at_end()), Some((10, 13)), "there was a record");
        assert!(!page_builder.can_continue(offset(13)), "the consumer would not report the end again");
    }

    #[test]
    fn a_full_page_is_followed_by_the_next_without_asking_again() {
        let mut page_builder = PageBuilder::new(offset(0), None, offset(1_000_000));
        let page = (0..).find_map(|at| page_builder.take(&record(at))).expect("a page is full at some time");
        assert!(page_builder.can_continue(page.to), "fetched records would be fetched twice");
    }

    #[test]
    fn a_gap_that_compaction_left_at_the_end_is_passed() {
        let mut page_builder = PageBuilder::new(offset(10), None, offset(20));
        assert!(matches!(page_builder.at_end(), EndOfPartition::Unconfirmed));
        assert!(page_builder.confirm_end(offset(20)));
        assert_eq!(bounds(&page_builder.at_end()), Some((10, 20)));
    }

    #[test]
    fn at_the_end_of_everything_there_is_nothing_to_read_yet() {
        let mut page_builder = PageBuilder::new(offset(20), None, offset(20));
        assert!(matches!(page_builder.at_end(), EndOfPartition::Empty));
        assert!(page_builder.take(&record(20)).is_none());
        assert_eq!(bounds(&page_builder.at_end()), Some((20, 21)));
    }

    #[test]
    fn a_page_ends_where_another_begins() {
        let mut page_builder = PageBuilder::new(offset(10), Some(offset(15)), offset(20));
        assert!(page_builder.take(&record(9)).is_none(), "it was fetched for an earlier assignment");
        assert!(page_builder.take(&record(12)).is_none());
        let page = page_builder.take(&record(16)).expect("16 is beyond the page");
        assert_eq!((page.from, page.to), (offset(10), offset(15)));
        assert!(!page_builder.can_continue(offset(15)), "the consumer is past 16");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// A log with gaps, read up to the window's tail through brokers that each know it up to
        /// some offset. Some are also queried for the end before they are read.
        #[test]
        fn however_outdated_a_broker_is_no_record_is_left_out(
            log in btree_set(0..60_i64, 0..40),
            floor in 1..60_i64,
            known in vec(0..=60_i64, 0..40),
        ) {
            // The window had the record before its tail, and Kafka's end is there or later.
            let (mut next, mut found): (_, Vec<i64>) = (0, Vec::new());
            let attempts = known.iter().copied().chain(std::iter::repeat_n(60, 200));
            for broker in attempts {
                if next >= floor {
                    break;
                }
                let mut page_builder = PageBuilder::new(offset(next), None, offset(floor));
                let read = |page_builder: &mut PageBuilder| {
                    for at in log.range(next..).filter(|at| **at < broker) {
                        assert!(page_builder.take(&record(*at)).is_none(), "these are too few to fill a page");
                    }
                    page_builder.at_end()
                };
                let mut end = read(&mut page_builder);
                if matches!(end, EndOfPartition::Unconfirmed) && page_builder.confirm_end(offset(broker)) {
                    end = read(&mut page_builder);
                }
                if let Some((from, to)) = bounds(&end) {
                    assert_eq!(from, next);
                    found.extend(log.range(from..to).filter(|at| **at < broker));
                    next = to;
                }
            }
            assert!(next >= floor, "it does not arrive: {next} of {floor}");
            assert_eq!(found, log.range(..next).copied().collect::<Vec<_>>());
        }
    }
}
