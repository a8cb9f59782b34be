//! The shelf as data: who is served by which page, and in which order pages are read.

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
    let (mut shelf, p) = (Shelf::new(usize::MAX), partition(0));
    for wish in [500, 300, 450, 900] {
        shelf.want(&p, offset(wish), wish);
    }
    let job = shelf.next_job(never).expect("there are wishes");
    assert_eq!((job.from, job.until), (offset(300), None));
    assert!(shelf.next_job(never).is_none(), "a partition is read by one reader at a time");

    assert_eq!(shelf.put(&job, &page(300, 600)), [300, 450, 500]);
    assert!(shelf.find(&p, offset(599)).is_some());
    assert!(shelf.find(&p, offset(600)).is_none());
    assert_eq!(shelf.next_job(never).expect("900 still waits").from, offset(900));
}

#[test]
fn a_page_ends_where_another_begins() {
    let (mut shelf, p) = (Shelf::new(usize::MAX), partition(0));
    shelf.want(&p, offset(500), 500);
    let job = shelf.next_job(never).expect("there is a wish");
    shelf.put(&job, &page(500, 600));
    shelf.want(&p, offset(100), 100);
    assert_eq!(shelf.next_job(never).expect("there is a wish").until, Some(offset(500)));
}

#[test]
fn partitions_are_read_in_turn() {
    let (mut shelf, a, b) = (Shelf::new(usize::MAX), partition(0), partition(1));
    shelf.want(&a, offset(0), 0);
    shelf.want(&a, offset(10), 10);
    shelf.want(&b, offset(0), 0);
    let first = shelf.next_job(never).expect("there are wishes");
    assert_eq!(first.partition.id, a.id);
    shelf.put(&first, &page(0, 10));
    assert_eq!(shelf.next_job(never).expect("there are wishes").partition.id, b.id);
}

#[test]
fn who_asked_for_what_is_gone_is_told_and_the_others_go_on_waiting() {
    let (mut shelf, p) = (Shelf::new(usize::MAX), partition(0));
    for wish in [5, 20] {
        shelf.want(&p, offset(wish), wish);
    }
    let job = shelf.next_job(never).expect("there are wishes");
    assert_eq!(shelf.fail(&job, Some(offset(10))), [5]);
    let job = shelf.next_job(never).expect("20 still waits");
    assert_eq!(shelf.fail(&job, None), [20]);
    assert!(shelf.partitions.is_empty(), "nothing is kept of a partition without pages or wishes");
}

#[test]
fn a_wish_that_was_given_up_is_not_read_for() {
    let (mut shelf, p) = (Shelf::new(usize::MAX), partition(0));
    shelf.want(&p, offset(5), 5);
    assert!(shelf.next_job(|_| true).is_none());
}

#[test]
fn a_recreated_topic_gets_no_page_of_the_old_one() {
    let (mut shelf, old, new) = (Shelf::new(usize::MAX), partition(0), partition(0));
    shelf.want(&old, offset(0), 0);
    let job = shelf.next_job(never).expect("there is a wish");
    shelf.put(&job, &page(0, 10));
    assert!(shelf.find(&new, offset(5)).is_none());
    shelf.want(&new, offset(5), 5);
    assert_eq!(shelf.memory(), 0);
    assert!(shelf.find(&old, offset(5)).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Want(i64),
    Read(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![(0..200_i64).prop_map(Step::Want), (1..60_i64).prop_map(Step::Read)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_wish_is_served_once_by_a_page_that_has_it(steps in steps(), pages_max in 1..10_usize) {
        let one = page(199, 200).memory();
        let (mut shelf, p) = (Shelf::new(pages_max * one), partition(0));
        let mut waiting: Vec<i64> = Vec::new();
        let serve = |shelf: &mut Shelf<i64>, waiting: &mut Vec<i64>, length: i64| {
            let Some(job) = shelf.next_job(never) else { return false };
            let lowest = waiting.iter().min().expect("there is a job only while somebody waits");
            assert_eq!(job.from.get(), *lowest);
            let from = job.from.get();
            let to = job.until.map_or(from + length, |until| until.get().min(from + length));
            let served: BTreeSet<_> = shelf.put(&job, &page(from, to)).into_iter().collect();
            let expected = waiting.iter().copied().filter(|wish| (from..to).contains(wish)).collect();
            assert_eq!(served, expected);
            waiting.retain(|wish| !served.contains(wish));
            assert!(shelf.memory() <= pages_max.max(1) * one);
            true
        };
        for step in steps {
            match step {
                Step::Want(wish) if shelf.find(&p, offset(wish)).is_some() => {}
                Step::Want(wish) => {
                    shelf.want(&p, offset(wish), wish);
                    waiting.push(wish);
                }
                Step::Read(length) => drop(serve(&mut shelf, &mut waiting, length)),
            }
        }
        while serve(&mut shelf, &mut waiting, 7) {}
        assert!(waiting.is_empty(), "nobody waits for ever: {waiting:?}");
    }
}
