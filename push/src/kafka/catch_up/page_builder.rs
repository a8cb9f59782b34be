//! A page while it is read: what belongs to it, and when it is complete.
//!
//! Plain code: the reader brings records, and says when Kafka said that the partition ends.
//!
//! Invariant: every record that the partition has at or after `from` and before the page's `to` is in the page. That holds
//! also when a broker that leads no more, and does not know it yet, says that the partition ends: records that others have
//! read already may be behind its end.

use tailcast_proto::Offset;

use crate::{
    log::page::Page,
    record::batch::{Record, RecordBatchBuilder},
};

/// A page while it is read.
#[derive(Debug)]
pub(super) struct PageBuilder {
    from: Offset,
    /// Where a page begins that is there already.
    until: Option<Offset>,
    /// The window's tail when the reading began: the partition goes at least so far.
    floor: Offset,
    /// What a broker said is the end of the partition, before it was read once more.
    confirmed_end: Option<Offset>,
    /// Kafka said that the partition ends.
    has_ended: bool,
    builder: RecordBatchBuilder,
}

/// What the end of a partition means for a page.
#[derive(Debug)]
pub(super) enum EndOfPartition {
    /// The page is complete.
    Page(Page),
    /// There is nothing to read yet.
    Empty,
    /// The window had records behind this end, or there were none left by compaction or transactions. Which of the two, is
    /// found out by asking where the partition ends, and reading once more.
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

    /// Takes a record. Returns the page once it is complete.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Option<Page> {
        if record.offset < self.from {
            // What was fetched for an earlier assignment may still come.
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

    /// Takes that Kafka says that the partition ends.
    ///
    /// What was read is a page in any case. Without anything, the end may be older than what the window has had since, and
    /// going on at the window's tail would leave out what lies between.
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

    /// Takes where a broker says that the partition ends. Returns whether it can be right; if so, the end that comes when the
    /// partition is read from `from` again is at or after that, and what is not there then is nowhere.
    pub(super) fn confirm_end(&mut self, end: Offset) -> bool {
        self.confirmed_end = Some(end);
        end >= self.floor
    }

    /// Whether a consumer that has read a page up to `to` may go on from there and will say once more where the partition
    /// ends: it says so once for each assignment.
    pub(super) fn can_continue(&self, to: Offset) -> bool {
        // Beyond `until` it has given out a record that the page does not have.
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
    fn an_end_before_what_the_window_had_is_not_believed_at_once() {
        // The page went to the window's tail, as if there were nothing between. A broker that had been deposed, or an end
        // that was said before the window moved on, made it leave out records without a word.
        let mut page_builder = PageBuilder::new(offset(10), None, offset(20));
        assert!(matches!(page_builder.at_end(), EndOfPartition::Unconfirmed));
        assert!(!page_builder.confirm_end(offset(15)), "this broker does not know what the window had");
        assert!(matches!(page_builder.at_end(), EndOfPartition::Unconfirmed));
        assert!(page_builder.confirm_end(offset(25)));
        assert!(page_builder.take(&record(12)).is_none());
        assert_eq!(bounds(&page_builder.at_end()), Some((10, 13)), "there was a record");
        assert!(
            !page_builder.can_continue(offset(13)),
            "the consumer would not say again that this is the end"
        );
    }

    #[test]
    fn a_full_page_is_followed_by_the_next_without_asking_again() {
        let mut page_builder = PageBuilder::new(offset(0), None, offset(1_000_000));
        let page = (0..).find_map(|at| page_builder.take(&record(at))).expect("a page is full at some time");
        assert!(page_builder.can_continue(page.to), "what was fetched ahead would be fetched twice");
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
        assert!(page_builder.take(&record(9)).is_none(), "it was fetched for somebody else");
        assert!(page_builder.take(&record(12)).is_none());
        let page = page_builder.take(&record(16)).expect("16 is beyond the page");
        assert_eq!((page.from, page.to), (offset(10), offset(15)));
        assert!(!page_builder.can_continue(offset(15)), "the consumer is past 16");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// A log with gaps, read to the window's tail through brokers of which each knows it up to somewhere. Some answer
        /// where it ends and then are asked for records, as one broker is.
        #[test]
        fn whatever_a_broker_does_not_know_no_record_is_left_out(
            log in btree_set(0..60_i64, 0..40),
            floor in 1..60_i64,
            known in vec(0..=60_i64, 0..40),
        ) {
            // The window has had the last record before its tail, and Kafka's end is there or later.
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
