//! The page cache as data: which requests a page serves, and in which order pages are read.

use std::collections::BTreeSet;

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, prop_oneof, proptest},
};

use tailcast_proto::Epoch;

use super::*;
use crate::{partition::WindowBudget, record::batch::tests::batch, wake::fan_out::FanOut};

fn offset(offset: i64) -> Offset {
    Offset::new(offset).expect("tests use offsets")
}

fn partition(id: u32) -> Arc<Partition> {
    let topic = TopicName::parse("t").expect("it is a name");
    Partition::new(
        topic,
        Epoch::from_bits(1, 2),
        PartitionId::new(id),
        offset(1_000),
        WindowBudget::new(usize::MAX),
        FanOut::idle(),
        None,
    )
}

fn page(from: i64, to: i64) -> Arc<Page> {
    Arc::new(Page::new(offset(from), offset(to), Some(batch(&[(from, "k")]))))
}

fn never(_: &i64) -> bool {
    false
}

#[test]
fn pages_are_read_from_the_lowest_wish_upwards_and_serve_all_in_them() {
    let (mut page_cache, p) = (PageCache::new(usize::MAX), partition(0));
    for request in [500, 300, 450, 900] {
        page_cache.request(&p, offset(request), request);
    }
    let job = page_cache.next_job(never).expect("there are requests");
    assert_eq!((job.from, job.until), (offset(300), None));
    assert!(page_cache.next_job(never).is_none(), "a partition is read by one reader at a time");

    assert_eq!(page_cache.put(&job, &page(300, 600)), [300, 450, 500]);
    assert!(page_cache.find(&p, offset(599)).is_some());
    assert!(page_cache.find(&p, offset(600)).is_none());
    assert_eq!(page_cache.next_job(never).expect("900 still waits").from, offset(900));
}

#[test]
fn a_page_ends_where_another_begins() {
    let (mut page_cache, p) = (PageCache::new(usize::MAX), partition(0));
    page_cache.request(&p, offset(500), 500);
    let job = page_cache.next_job(never).expect("there is a request");
    page_cache.put(&job, &page(500, 600));
    page_cache.request(&p, offset(100), 100);
    assert_eq!(page_cache.next_job(never).expect("there is a request").until, Some(offset(500)));
}

#[test]
fn partitions_are_read_in_turn() {
    let (mut page_cache, a, b) = (PageCache::new(usize::MAX), partition(0), partition(1));
    page_cache.request(&a, offset(0), 0);
    page_cache.request(&a, offset(10), 10);
    page_cache.request(&b, offset(0), 0);
    let first = page_cache.next_job(never).expect("there are requests");
    assert_eq!(first.partition.id, a.id);
    page_cache.put(&first, &page(0, 10));
    assert_eq!(page_cache.next_job(never).expect("there are requests").partition.id, b.id);
}

#[test]
fn requests_for_expired_offsets_fail_and_the_others_keep_waiting() {
    let (mut page_cache, p) = (PageCache::new(usize::MAX), partition(0));
    for request in [5, 20] {
        page_cache.request(&p, offset(request), request);
    }
    let job = page_cache.next_job(never).expect("there are requests");
    assert_eq!(page_cache.fail(&job, Some(offset(10))), [5]);
    let job = page_cache.next_job(never).expect("20 still waits");
    assert_eq!(page_cache.fail(&job, None), [20]);
    assert!(page_cache.partitions.is_empty(), "a partition without pages and requests is removed");
}

#[test]
fn a_cancelled_request_is_not_read_for() {
    let (mut page_cache, p) = (PageCache::new(usize::MAX), partition(0));
    page_cache.request(&p, offset(5), 5);
    assert!(page_cache.next_job(|_| true).is_none());
}

#[test]
fn a_recreated_topic_gets_no_page_of_the_old_one() {
    let (mut page_cache, old, new) = (PageCache::new(usize::MAX), partition(0), partition(0));
    page_cache.request(&old, offset(0), 0);
    let job = page_cache.next_job(never).expect("there is a request");
    page_cache.put(&job, &page(0, 10));
    assert!(page_cache.find(&new, offset(5)).is_none());
    page_cache.request(&new, offset(5), 5);
    assert_eq!(page_cache.memory(), 0);
    assert!(page_cache.find(&old, offset(5)).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Request(i64),
    Read(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![(0..200_i64).prop_map(Step::Request), (1..60_i64).prop_map(Step::Read)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_request_is_served_once_by_a_page_that_contains_it(steps in steps(), pages_max in 1..10_usize) {
        let one = page(199, 200).memory();
        let (mut page_cache, p) = (PageCache::new(pages_max * one), partition(0));
        let mut waiting: Vec<i64> = Vec::new();
        let serve = |page_cache: &mut PageCache<i64>, waiting: &mut Vec<i64>, length: i64| {
            let Some(job) = page_cache.next_job(never) else { return false };
            let lowest = waiting.iter().min().expect("there is a job only while a request waits");
            assert_eq!(job.from.get(), *lowest);
            let from = job.from.get();
            let to = job.until.map_or(from + length, |until| until.get().min(from + length));
            let served: BTreeSet<_> = page_cache.put(&job, &page(from, to)).into_iter().collect();
            let expected = waiting.iter().copied().filter(|request| (from..to).contains(request)).collect();
            assert_eq!(served, expected);
            waiting.retain(|request| !served.contains(request));
            assert!(page_cache.memory() <= pages_max.max(1) * one);
            true
        };
        for step in steps {
            match step {
                Step::Request(request) if page_cache.find(&p, offset(request)).is_some() => {}
                Step::Request(request) => {
                    page_cache.request(&p, offset(request), request);
                    waiting.push(request);
                }
                Step::Read(length) => drop(serve(&mut page_cache, &mut waiting, length)),
            }
        }
        while serve(&mut page_cache, &mut waiting, 7) {}
        assert!(waiting.is_empty(), "every request is served: {waiting:?}");
    }
}
