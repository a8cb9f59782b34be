//! Reading from Kafka what has left the window.
//!
//! A cursor that is behind asks for the page that begins with its offset, takes what is its own, and asks for the next
//! one, at its own pace. Pages are shared: who asks for an offset that a page has gets that page, and who asks while it is
//! being read waits for it. So a storm of clients that are all a thousand records behind costs one scan, and a client that
//! does not read costs nothing.
//!
//! A bounded number of readers, at a bounded rate, each a thread with a consumer of its own, take wishes from the lowest
//! offset upwards. The tail consumer is never sought.

mod page_builder;
mod page_cache;
mod rate_limiter;
mod reader;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rdkafka::{ClientConfig, error::KafkaError};
use tailcast_proto::Offset;
use tailcast_services::{lifecycle::Lifecycle, topics::Topics};
use tokio::sync::oneshot;

use self::{
    page_cache::{PageCache, ReadJob},
    rate_limiter::RateLimiter,
    reader::PageReader,
};
use crate::{
    log::page::Page,
    metrics::{CatchUpMetrics, GaugeGuard},
    partition::Partition,
};

/// Gives out pages.
#[derive(Clone)]
pub(crate) struct CatchUp {
    inner: Arc<Inner>,
}

struct Inner {
    page_cache: Mutex<PageCache<Waiter>>,
    requested: Condvar,
    rate: Mutex<RateLimiter>,
    /// Notified when the process closes: readers wait for time to pass, and nothing else.
    closing: Condvar,
    metrics: CatchUpMetrics,
}

type Waiter = oneshot::Sender<Result<Arc<Page>, PageError>>;

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    /// Kafka's retention removed the offset; `low` is the first that is left.
    #[error("offsets before {low} are no longer retained")]
    Expired {
        /// The first offset that is left.
        low: Offset,
    },
    /// The log ends before the offset: it was cut back.
    #[error("the log ends before the offset")]
    Truncated,
    /// The subscription ends for another reason.
    #[error("the partition is closed")]
    Closed,
    /// The topic was deleted and created again.
    #[error("the topic was recreated")]
    Recreated,
}

/// Why the readers cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpStartError {
    #[error("a reader cannot be made: {0}")]
    Consumer(#[from] KafkaError),
    #[error("a reader's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

impl std::fmt::Debug for CatchUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatchUp").finish_non_exhaustive()
    }
}

impl Inner {
    /// Wakes the readers that wait for a wish or for the rate.
    fn wake_all(&self) {
        // Under its lock, a reader is either asleep or has yet to look whether the process closes.
        let rate = self.rate.lock();
        self.closing.notify_all();
        drop(rate);
        let page_cache = self.page_cache.lock();
        self.requested.notify_all();
        drop(page_cache);
    }
}

impl CatchUp {
    /// Starts the readers; they end when the process closes.
    pub(crate) fn start(
        config: &crate::config::CatchUpConfig,
        consumer: &ClientConfig,
        metrics: CatchUpMetrics,
        topics: &Topics,
        lifecycle: &Lifecycle,
    ) -> Result<Self, CatchUpStartError> {
        let page_cache = Mutex::new(PageCache::new(config.pages_bytes_max));
        let rate = Mutex::new(RateLimiter::new(config.bytes_per_second_max));
        let (requested, closing) = (Condvar::new(), Condvar::new());
        let catch_up = Self { inner: Arc::new(Inner { page_cache, requested, rate, closing, metrics }) };
        for _ in 0..config.readers.max(1) {
            let reader = PageReader::new(consumer, catch_up.clone(), topics.clone())?;
            let phases = lifecycle.clone();
            lifecycle.supervise_thread("catch-up", move || reader.run(&phases))?;
        }
        let inner = Arc::clone(&catch_up.inner);
        lifecycle.on_closing("catch-up-end", move || inner.wake_all());
        Ok(catch_up)
    }

    /// Returns a page that has `offset`: its records from there on, and at least the knowledge that there are none.
    ///
    /// Waits while Kafka is away. Cancel safe: a wish that nobody waits for is dropped.
    ///
    /// # Errors
    ///
    /// When Kafka has the offset no more.
    pub(crate) async fn page(
        &self,
        partition: Arc<Partition>,
        offset: Offset,
    ) -> Result<Arc<Page>, PageError> {
        let answer = {
            let mut page_cache = self.inner.page_cache.lock();
            if let Some(page) = page_cache.find(&partition, offset) {
                self.inner.metrics.pages_shared.inc();
                return Ok(page);
            }
            let (waiter, answer) = oneshot::channel();
            page_cache.request(&partition, offset, waiter);
            answer
        };
        self.inner.requested.notify_one();
        let _waiting = GaugeGuard::new(&self.inner.metrics.waiting);
        let answer = answer.await;
        // Readers answer every wish before they end; they end after the sessions.
        answer.unwrap_or(Err(PageError::Closed))
    }

    /// Waits until the next page may be read, or until the process closes.
    fn wait_for_rate(&self, lifecycle: &Lifecycle) {
        let began = Instant::now();
        let mut rate = self.inner.rate.lock();
        let mut has_waited = false;
        while let wait = rate.wait(Instant::now())
            && !wait.is_zero()
            && !lifecycle.is_closing()
        {
            has_waited = true;
            self.inner.closing.wait_for(&mut rate, wait);
        }
        if has_waited {
            self.inner.metrics.paused_seconds.inc_by(began.elapsed().as_secs_f64());
        }
    }

    /// Takes the next wish; waits for one at most `wait`, and not while the process closes.
    fn next_job(&self, wait: Duration, lifecycle: &Lifecycle) -> Option<ReadJob> {
        let job = {
            let mut page_cache = self.inner.page_cache.lock();
            page_cache.next_job(oneshot::Sender::is_closed).or_else(|| {
                if lifecycle.is_closing() {
                    return None;
                }
                self.inner.requested.wait_for(&mut page_cache, wait);
                page_cache.next_job(oneshot::Sender::is_closed)
            })
        }?;
        if job.partition.closed().is_some() {
            // Whoever waits learns the reason from the partition.
            self.fail(&job, PageError::Closed);
            return None;
        }
        Some(job)
    }

    /// Whether anybody still waits for what a job reads.
    fn is_wanted(&self, job: &ReadJob) -> bool {
        self.inner.page_cache.lock().is_wanted(job, oneshot::Sender::is_closed)
    }

    /// Answers those whom a page serves.
    fn finish(&self, job: &ReadJob, page: Page) {
        self.inner.metrics.pages_read.inc();
        self.inner.metrics.bytes_read.inc_by(page.memory() as u64);
        self.inner.rate.lock().record(page.memory(), Instant::now());
        let page = Arc::new(page);
        let (waiters, memory) = {
            let mut page_cache = self.inner.page_cache.lock();
            (page_cache.put(job, &page), page_cache.memory())
        };
        self.inner.metrics.memory.set(i64::try_from(memory).unwrap_or(i64::MAX));
        self.inner.metrics.pages_shared.inc_by(waiters.len().saturating_sub(1) as u64);
        for waiter in waiters {
            drop(waiter.send(Ok(Arc::clone(&page))));
        }
    }

    /// Answers those who asked for an offset before `low`, or everybody when the partition is gone.
    fn fail(&self, job: &ReadJob, error: PageError) {
        let until = match error {
            PageError::Expired { low } => Some(low),
            PageError::Truncated | PageError::Closed | PageError::Recreated => None,
        };
        let waiters = self.inner.page_cache.lock().fail(job, until);
        for waiter in waiters {
            drop(waiter.send(Err(error)));
        }
    }

    /// Gives a job up; who still waits is served by another one.
    fn abandon(&self, job: &ReadJob) {
        self.inner.page_cache.lock().abandon(job);
        self.inner.requested.notify_one();
    }
}
