//! Reading records from Kafka that have left the window.
//!
//! A cursor that is behind requests the page that contains its next offset, takes the records of
//! its channel, and requests the next page at its own pace. Pages are shared: a request for an
//! offset in a cached page gets that page, and requests that a page in progress will contain wait
//! for it. So a reconnect storm of clients that are all a thousand records behind costs one scan,
//! and a client that does not read costs nothing.
//!
//! Readers are bounded in number and rate. Each is a thread with a consumer of its own and serves
//! the requests of a partition from the lowest offset upwards. The tail consumer is never sought.

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

/// Reads pages and shares them. A cheap handle.
#[derive(Clone)]
pub(crate) struct CatchUp {
    inner: Arc<Inner>,
}

struct Inner {
    page_cache: Mutex<PageCache<Waiter>>,
    requested: Condvar,
    rate: Mutex<RateLimiter>,
    /// Notified when the process closes. Readers that wait for the rate limit wait on it.
    closing: Condvar,
    metrics: CatchUpMetrics,
}

type Waiter = oneshot::Sender<Result<Arc<Page>, PageError>>;

/// Why a page is not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    /// Retention has removed the requested offset.
    #[error("offsets before {low} are no longer retained")]
    Expired {
        /// The first offset that Kafka still has.
        low: Offset,
    },
    /// The log ends before the requested offset: it was truncated.
    #[error("the log ends before the requested offset")]
    Truncated,
    /// The partition was closed, which ends its subscriptions.
    #[error("the partition is closed")]
    Closed,
    /// The topic was deleted and created again.
    #[error("the topic was recreated")]
    Recreated,
}

/// Why the readers could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpStartError {
    #[error("cannot create the Kafka client for catch-up: {0}")]
    Consumer(#[from] KafkaError),
    #[error("cannot start a catch-up thread: {0}")]
    Thread(#[from] io::Error),
}

impl std::fmt::Debug for CatchUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatchUp").finish_non_exhaustive()
    }
}

impl Inner {
    /// Wakes the readers that wait for a request or for the rate limit.
    fn wake_all(&self) {
        // Under the lock, so that a reader is either waiting or will check for closing before it
        // waits.
        let rate = self.rate.lock();
        self.closing.notify_all();
        drop(rate);
        let page_cache = self.page_cache.lock();
        self.requested.notify_all();
        drop(page_cache);
    }
}

impl CatchUp {
    /// Starts the readers. They end when the process closes.
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

    /// Returns a page that contains `offset`. The page may have no records from there on, if
    /// compaction removed them.
    ///
    /// Waits while Kafka is unreachable. Cancel safe: an abandoned request is dropped.
    ///
    /// # Errors
    ///
    /// See [`PageError`].
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
        // Readers answer all requests before they end, and they end after the sessions.
        answer.unwrap_or(Err(PageError::Closed))
    }

    /// Waits until the rate limit allows the next page, or until the process closes.
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

    /// Returns the next job. Waits for a request up to `wait`, but not while the process closes.
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
            // The waiting cursors take the reason from the partition.
            self.fail(&job, PageError::Closed);
            return None;
        }
        Some(job)
    }

    /// Whether a request is still waiting for this job.
    fn is_wanted(&self, job: &ReadJob) -> bool {
        self.inner.page_cache.lock().is_wanted(job, oneshot::Sender::is_closed)
    }

    /// Answers the requests that a page serves.
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

    /// Fails the requests for offsets before `low`, or all requests for the partition if it is
    /// gone.
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

    /// Ends a job without a page. Requests that still wait are served by another job.
    fn abandon(&self, job: &ReadJob) {
        self.inner.page_cache.lock().abandon(job);
        self.inner.requested.notify_one();
    }
}
