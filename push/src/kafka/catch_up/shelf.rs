//! Which pages are there, which are wished for, and which is read next.
//!
//! Plain data, without Kafka and without waiting. `W` is whoever waits for a page.
//!
//! Invariants: a partition is read by one reader at a time. Pages of a partition do not overlap. A wish that a page can
//! serve is never kept.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Weak},
};

use tailcast_proto::{Offset, PartitionId, TopicName};

use crate::{log::page::Page, partition::Partition};

/// The pages of all partitions, and the wishes for more.
#[derive(Debug)]
pub(crate) struct Shelf<W> {
    partitions: HashMap<Key, PartitionShelf<W>>,
    /// The partitions that somebody waits for and nobody reads, first come first served.
    queue: VecDeque<Key>,
    /// The pages in the order in which they came, the oldest in front.
    pages: VecDeque<(Key, Offset)>,
    memory: usize,
    memory_max: usize,
}

/// A page that is to be read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) partition: Arc<Partition>,
    pub(crate) from: Offset,
    /// Where a page begins that is there already.
    pub(crate) until: Option<Offset>,
}

#[derive(Debug)]
struct PartitionShelf<W> {
    /// Weak: pages outlive the window of a partition that nobody watches any more.
    partition: Weak<Partition>,
    pages: BTreeMap<Offset, Arc<Page>>,
    wishes: BTreeMap<Offset, Vec<W>>,
    is_read: bool,
}

type Key = (TopicName, PartitionId);

impl<W> Shelf<W> {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self {
            partitions: HashMap::new(),
            queue: VecDeque::new(),
            pages: VecDeque::new(),
            memory: 0,
            memory_max,
        }
    }

    /// Returns the page that has an offset, if it is there.
    pub(crate) fn find(&self, partition: &Arc<Partition>, offset: Offset) -> Option<Arc<Page>> {
        let shelf = self.partitions.get(&key(partition))?;
        // A recreated topic is another partition with the same name: its offsets mean something else.
        if !shelf.is_of(partition) {
            return None;
        }
        let (_, page) = shelf.pages.range(..=offset).next_back()?;
        (offset < page.to).then(|| Arc::clone(page))
    }

    /// Notes that somebody waits for a page that has `offset`.
    pub(crate) fn want(&mut self, partition: &Arc<Partition>, offset: Offset, waiter: W) {
        let key = key(partition);
        if self.partitions.get(&key).is_some_and(|shelf| !shelf.is_of(partition)) {
            self.forget(&key);
        }
        let shelf = self.partitions.entry(key.clone()).or_insert_with(|| PartitionShelf {
            partition: Arc::downgrade(partition),
            pages: BTreeMap::new(),
            wishes: BTreeMap::new(),
            is_read: false,
        });
        let first = shelf.wishes.is_empty();
        shelf.wishes.entry(offset).or_default().push(waiter);
        if first && !shelf.is_read {
            self.queue.push_back(key);
        }
    }

    /// Takes the next page to read: of the partition that waited longest, from the lowest offset upwards.
    pub(crate) fn next_job(&mut self, gave_up: impl Fn(&W) -> bool) -> Option<Job> {
        while let Some(key) = self.queue.pop_front() {
            let Some(shelf) = self.partitions.get_mut(&key) else { continue };
            shelf.wishes.retain(|_, waiters| {
                waiters.retain(|waiter| !gave_up(waiter));
                !waiters.is_empty()
            });
            // Whoever waits for a page keeps its partition.
            let wanted = shelf.wishes.first_key_value().map(|(from, _)| *from).zip(shelf.partition.upgrade());
            let Some((from, partition)) = wanted else {
                if shelf.pages.is_empty() {
                    self.partitions.remove(&key);
                }
                continue;
            };
            let until = shelf.pages.range(from..).next().map(|(until, _)| *until);
            shelf.is_read = true;
            return Some(Job { partition, from, until });
        }
        None
    }

    /// Whether anybody still waits for what a job reads.
    pub(crate) fn is_wanted(&self, job: &Job, gave_up: impl Fn(&W) -> bool) -> bool {
        self.shelf(job).is_some_and(|shelf| shelf.wishes.values().flatten().any(|waiter| !gave_up(waiter)))
    }

    /// Puts a page that was read on the shelf. Returns those whom it serves.
    pub(crate) fn put(&mut self, job: &Job, page: &Arc<Page>) -> Vec<W> {
        let Some(shelf) = self.shelf_mut(job) else { return Vec::new() };
        let rest = shelf.wishes.split_off(&page.to);
        let mut served = std::mem::replace(&mut shelf.wishes, rest);
        shelf.wishes.extend(std::iter::from_fn(|| served.pop_first_if_before(page.from)));
        shelf.pages.insert(page.from, Arc::clone(page));
        self.memory += page.memory();
        self.pages.push_back((key(&job.partition), page.from));
        self.abandon(job);
        self.drop_oldest();
        served.into_values().flatten().collect()
    }

    /// Takes out those who wait for an offset before `until`, or everybody.
    pub(crate) fn fail(&mut self, job: &Job, until: Option<Offset>) -> Vec<W> {
        let Some(shelf) = self.shelf_mut(job) else { return Vec::new() };
        let rest = until.map(|until| shelf.wishes.split_off(&until)).unwrap_or_default();
        let failed = std::mem::replace(&mut shelf.wishes, rest);
        self.abandon(job);
        failed.into_values().flatten().collect()
    }

    /// Ends a job: the partition waits in line again if somebody still waits for it.
    pub(crate) fn abandon(&mut self, job: &Job) {
        let Some(shelf) = self.shelf_mut(job) else { return };
        shelf.is_read = false;
        if !shelf.wishes.is_empty() {
            self.queue.push_back(key(&job.partition));
        } else if shelf.pages.is_empty() {
            self.partitions.remove(&key(&job.partition));
        }
    }

    /// What the pages hold of the node's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    fn drop_oldest(&mut self) {
        // The newest stays, however large: somebody is about to take it.
        while self.memory > self.memory_max && self.pages.len() > 1 {
            let Some((key, from)) = self.pages.pop_front() else { return };
            let Some(shelf) = self.partitions.get_mut(&key) else { continue };
            if let Some(page) = shelf.pages.remove(&from) {
                self.memory -= page.memory();
            }
            if shelf.pages.is_empty() && shelf.wishes.is_empty() && !shelf.is_read {
                self.partitions.remove(&key);
            }
        }
    }

    /// Drops the pages of a topic that was recreated. Who waits for them is dropped too, and learns that it is gone.
    fn forget(&mut self, gone: &Key) {
        if let Some(shelf) = self.partitions.remove(gone) {
            self.memory -= shelf.pages.values().map(|page| page.memory()).sum::<usize>();
        }
        self.pages.retain(|(key, _)| key != gone);
        self.queue.retain(|key| key != gone);
    }

    fn shelf(&self, job: &Job) -> Option<&PartitionShelf<W>> {
        self.partitions.get(&key(&job.partition)).filter(|shelf| shelf.is_of(&job.partition))
    }

    fn shelf_mut(&mut self, job: &Job) -> Option<&mut PartitionShelf<W>> {
        let shelf = self.partitions.get_mut(&key(&job.partition));
        shelf.filter(|shelf| shelf.is_of(&job.partition))
    }
}

impl<W> PartitionShelf<W> {
    /// Whether this is the shelf of that partition, and not of an earlier one with the same name.
    fn is_of(&self, partition: &Arc<Partition>) -> bool {
        std::ptr::eq(self.partition.as_ptr(), Arc::as_ptr(partition))
    }
}

fn key(partition: &Partition) -> Key {
    (partition.topic.clone(), partition.id)
}

/// Taking from the front of a map while it is before something.
trait PopFirstIfBefore<V> {
    fn pop_first_if_before(&mut self, offset: Offset) -> Option<(Offset, V)>;
}

impl<V> PopFirstIfBefore<V> for BTreeMap<Offset, V> {
    fn pop_first_if_before(&mut self, offset: Offset) -> Option<(Offset, V)> {
        let first = self.first_entry()?;
        (*first.key() < offset).then(|| first.remove_entry())
    }
}

#[cfg(test)]
mod tests;
