//! The pages in memory, the requests for more, and which page is read next.
//!
//! Plain data: no Kafka, no waiting. `W` represents the caller that waits for a page.
//!
//! Invariants: a partition is read by one reader at a time. Pages of a partition do not overlap. No
//! request is kept that a page in memory can serve.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Weak},
};

use tailcast_proto::{Offset, PartitionId, TopicName};

use crate::{log::page::Page, partition::Partition};

/// The pages of all partitions, and the requests for more.
#[derive(Debug)]
pub(crate) struct PageCache<W> {
    partitions: HashMap<PartitionKey, PartitionPages<W>>,
    /// Partitions with requests and no reader, first come, first served.
    queue: VecDeque<PartitionKey>,
    /// All pages, oldest first.
    pages: VecDeque<(PartitionKey, Offset)>,
    memory: usize,
    memory_max: usize,
}

/// A page to be read.
#[derive(Debug)]
pub(crate) struct ReadJob {
    pub(crate) partition: Arc<Partition>,
    pub(crate) from: Offset,
    /// Where the next cached page begins.
    pub(crate) until: Option<Offset>,
}

#[derive(Debug)]
struct PartitionPages<W> {
    /// Weak, because pages may outlive the window of a partition without subscribers.
    partition: Weak<Partition>,
    pages: BTreeMap<Offset, Arc<Page>>,
    requests: BTreeMap<Offset, Vec<W>>,
    is_being_read: bool,
}

type PartitionKey = (TopicName, PartitionId);

impl<W> PageCache<W> {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self {
            partitions: HashMap::new(),
            queue: VecDeque::new(),
            pages: VecDeque::new(),
            memory: 0,
            memory_max,
        }
    }

    /// Returns the page that contains an offset, if there is one.
    pub(crate) fn find(&self, partition: &Arc<Partition>, offset: Offset) -> Option<Arc<Page>> {
        let pages = self.partitions.get(&key(partition))?;
        // A recreated topic has the same name, but its offsets mean other records.
        if !pages.is_of(partition) {
            return None;
        }
        let (_, page) = pages.pages.range(..=offset).next_back()?;
        (offset < page.to).then(|| Arc::clone(page))
    }

    /// Adds a request for the page that contains `offset`.
    pub(crate) fn request(&mut self, partition: &Arc<Partition>, offset: Offset, waiter: W) {
        let key = key(partition);
        if self.partitions.get(&key).is_some_and(|pages| !pages.is_of(partition)) {
            self.remove_stale(&key);
        }
        let pages = self.partitions.entry(key.clone()).or_insert_with(|| PartitionPages {
            partition: Arc::downgrade(partition),
            pages: BTreeMap::new(),
            requests: BTreeMap::new(),
            is_being_read: false,
        });
        let first = pages.requests.is_empty();
        pages.requests.entry(offset).or_default().push(waiter);
        if first && !pages.is_being_read {
            self.queue.push_back(key);
        }
    }

    /// Returns the next page to read: of the partition that has waited longest, from its lowest
    /// requested offset.
    pub(crate) fn next_job(&mut self, is_cancelled: impl Fn(&W) -> bool) -> Option<ReadJob> {
        while let Some(key) = self.queue.pop_front() {
            let Some(pages) = self.partitions.get_mut(&key) else { continue };
            pages.requests.retain(|_, waiters| {
                waiters.retain(|waiter| !is_cancelled(waiter));
                !waiters.is_empty()
            });
            // A waiting caller keeps the partition alive.
            let wanted =
                pages.requests.first_key_value().map(|(from, _)| *from).zip(pages.partition.upgrade());
            let Some((from, partition)) = wanted else {
                if pages.pages.is_empty() {
                    self.partitions.remove(&key);
                }
                continue;
            };
            let until = pages.pages.range(from..).next().map(|(until, _)| *until);
            pages.is_being_read = true;
            return Some(ReadJob { partition, from, until });
        }
        None
    }

    /// Whether a request for the job's partition is still waiting.
    pub(crate) fn is_wanted(&self, job: &ReadJob, is_cancelled: impl Fn(&W) -> bool) -> bool {
        self.pages(job)
            .is_some_and(|pages| pages.requests.values().flatten().any(|waiter| !is_cancelled(waiter)))
    }

    /// Stores a page that was read. Returns the callers whose requests it serves.
    pub(crate) fn put(&mut self, job: &ReadJob, page: &Arc<Page>) -> Vec<W> {
        let Some(pages) = self.pages_mut(job) else { return Vec::new() };
        let rest = pages.requests.split_off(&page.to);
        let mut served = std::mem::replace(&mut pages.requests, rest);
        pages.requests.extend(std::iter::from_fn(|| served.pop_first_before(page.from)));
        pages.pages.insert(page.from, Arc::clone(page));
        self.memory += page.memory();
        self.pages.push_back((key(&job.partition), page.from));
        self.abandon(job);
        self.drop_oldest();
        served.into_values().flatten().collect()
    }

    /// Removes the requests for offsets before `until`, or all of them. Returns their callers.
    pub(crate) fn fail(&mut self, job: &ReadJob, until: Option<Offset>) -> Vec<W> {
        let Some(pages) = self.pages_mut(job) else { return Vec::new() };
        let rest = until.map(|until| pages.requests.split_off(&until)).unwrap_or_default();
        let failed = std::mem::replace(&mut pages.requests, rest);
        self.abandon(job);
        failed.into_values().flatten().collect()
    }

    /// Ends a job. The partition is queued again if requests are left.
    pub(crate) fn abandon(&mut self, job: &ReadJob) {
        let Some(pages) = self.pages_mut(job) else { return };
        pages.is_being_read = false;
        if !pages.requests.is_empty() {
            self.queue.push_back(key(&job.partition));
        } else if pages.pages.is_empty() {
            self.partitions.remove(&key(&job.partition));
        }
    }

    /// Returns the memory of all pages, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    fn drop_oldest(&mut self) {
        // The newest page stays, whatever its size, because a cursor is about to read it.
        while self.memory > self.memory_max && self.pages.len() > 1 {
            let Some((key, from)) = self.pages.pop_front() else { return };
            let Some(pages) = self.partitions.get_mut(&key) else { continue };
            if let Some(page) = pages.pages.remove(&from) {
                self.memory -= page.memory();
            }
            if pages.pages.is_empty() && pages.requests.is_empty() && !pages.is_being_read {
                self.partitions.remove(&key);
            }
        }
    }

    /// Removes the pages and requests of a topic that was recreated. Dropping a request tells its
    /// caller that the partition is gone.
    fn remove_stale(&mut self, gone: &PartitionKey) {
        if let Some(pages) = self.partitions.remove(gone) {
            self.memory -= pages.pages.values().map(|page| page.memory()).sum::<usize>();
        }
        self.pages.retain(|(key, _)| key != gone);
        self.queue.retain(|key| key != gone);
    }

    fn pages(&self, job: &ReadJob) -> Option<&PartitionPages<W>> {
        self.partitions.get(&key(&job.partition)).filter(|pages| pages.is_of(&job.partition))
    }

    fn pages_mut(&mut self, job: &ReadJob) -> Option<&mut PartitionPages<W>> {
        let pages = self.partitions.get_mut(&key(&job.partition));
        pages.filter(|pages| pages.is_of(&job.partition))
    }
}

impl<W> PartitionPages<W> {
    /// Whether these are the pages of this partition, not of an earlier one with the same name.
    fn is_of(&self, partition: &Arc<Partition>) -> bool {
        std::ptr::eq(self.partition.as_ptr(), Arc::as_ptr(partition))
    }
}

fn key(partition: &Partition) -> PartitionKey {
    (partition.topic.clone(), partition.id)
}

/// Removes the first entry of a map if its key is before an offset.
trait PopFirstBefore<V> {
    fn pop_first_before(&mut self, offset: Offset) -> Option<(Offset, V)>;
}

impl<V> PopFirstBefore<V> for BTreeMap<Offset, V> {
    fn pop_first_before(&mut self, offset: Offset) -> Option<(Offset, V)> {
        let first = self.first_entry()?;
        (*first.key() < offset).then(|| first.remove_entry())
    }
}

#[cfg(test)]
mod tests;
