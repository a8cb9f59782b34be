//! One partition that this node tails, shared by the feed and by the sessions that watch it.
//!
//! The window is behind a lock that the feed and new subscribers take. Sessions that read take only
//! the lock of their channel's log; two atomics hold the bounds of the window.
//!
//! Invariant: `head` moves after the logs have the records before it, so a session that loads
//! `head` and then reads its log to the end has seen everything before that head. A log that has
//! evicted a record that a cursor needs reports this itself, whatever `tail` is.

mod append;
pub(crate) mod fence;
mod lag;
mod window_budget;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tailcast_proto::{Epoch, Offset, PartitionId, TopicName, push::v1::UnsubscribeReason};

pub(crate) use self::{append::AppendOutcome, lag::Lag, window_budget::WindowBudget};
use crate::{
    log::{
        channel_log::ChannelLog, conflation::OffsetMapLimit, last_values::PartitionLastValues, window::Window,
    },
    partition::fence::Fence,
    record::channel::{Encoding, NodeChannel},
    wake::{doorbell::Ringer, fan_out::FanOut},
};

/// A partition that this node tails.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: TopicName,
    pub(crate) id: PartitionId,
    /// The incarnation of the topic.
    pub(crate) epoch: Epoch,
    /// Locked before the window, never while the window is locked.
    fence: Mutex<Fence>,
    window: Mutex<Window>,
    head: AtomicI64,
    tail: AtomicI64,
    memory: AtomicUsize,
    /// Kafka's end of the partition at the last fetch; -1 before the first.
    high_watermark: AtomicI64,
    /// The timestamp of the last record read, in milliseconds since the Unix epoch; -1 before the
    /// first.
    last_timestamp_ms: AtomicI64,
    /// Time at which Kafka's end was first known to be past the head, in milliseconds since the
    /// Unix epoch; -1 if it is not.
    behind_since_ms: AtomicI64,
    /// An `UnsubscribeReason`, once the topic is gone; 0 before.
    closed: AtomicU8,
    /// Set when the hub drops the partition: the tail must not assign it again.
    retired: AtomicBool,
    last_values: Option<Arc<PartitionLastValues>>,
    budget: Arc<WindowBudget>,
    fan_out: Arc<FanOut>,
}

impl Partition {
    pub(crate) fn new(
        topic: TopicName,
        epoch: Epoch,
        id: PartitionId,
        head: Offset,
        budget: Arc<WindowBudget>,
        fan_out: Arc<FanOut>,
        last_values: Option<Arc<PartitionLastValues>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic,
            id,
            epoch,
            fence: Mutex::default(),
            window: Mutex::new(Window::new(id, head)),
            head: AtomicI64::new(head.get()),
            tail: AtomicI64::new(head.get()),
            memory: AtomicUsize::new(0),
            high_watermark: AtomicI64::new(-1),
            last_timestamp_ms: AtomicI64::new(-1),
            behind_since_ms: AtomicI64::new(-1),
            closed: AtomicU8::new(0),
            retired: AtomicBool::new(false),
            last_values,
            budget,
            fan_out,
        })
    }

    /// The offset after the last record that this node has read.
    pub(crate) fn head(&self) -> Offset {
        Offset::new(self.head.load(Ordering::Acquire)).unwrap_or(Offset::ZERO)
    }

    /// The offset from which on the window has every record.
    pub(crate) fn tail(&self) -> Offset {
        Offset::new(self.tail.load(Ordering::Acquire)).unwrap_or(Offset::ZERO)
    }

    /// The last values of the partition; `None` if the topic is not configured to keep them.
    pub(crate) fn last_values(&self) -> Option<&Arc<PartitionLastValues>> {
        self.last_values.as_ref()
    }

    /// Returns the memory of the window and its logs, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Forbids tailing the partition again. Called before it is released.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Whether the partition must not be tailed again.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Subscribes to a channel. Returns its log, complete from `from` on if the window still has
    /// those records.
    pub(crate) fn attach(
        &self,
        channel: &Arc<NodeChannel>,
        encoding: Encoding,
        from: Offset,
        ringer: &Arc<Ringer>,
    ) -> Arc<ChannelLog> {
        self.window(|window| {
            let log = window.attach(channel, encoding, from);
            // Under the window's lock, because a log without subscribers may be removed.
            log.join(Arc::clone(ringer));
            if self.closed().is_some() {
                // This subscriber joined after the others were notified.
                ringer.alert();
            }
            log
        })
    }

    /// Completes a log from `from` on, if the window still has those records. Called for a cursor
    /// that returns from catching up.
    pub(crate) fn extend_back(&self, log: &ChannelLog, from: Offset) {
        self.window(|window| drop(window.attach(&log.channel, log.encoding, from)));
    }

    /// Ends a subscription.
    pub(crate) fn detach(&self, log: &ChannelLog, ringer: &Arc<Ringer>) {
        self.window(|window| {
            if log.leave(ringer) {
                window.detach(log);
            }
        });
    }

    /// The limit of keys in the offset maps of conflated subscriptions.
    pub(crate) fn offset_map_limit(&self) -> &Arc<OffsetMapLimit> {
        self.budget.offset_map_limit()
    }

    /// Evicts the oldest batch. Returns whether there was one.
    pub(crate) fn evict_oldest(&self) -> bool {
        self.window(Window::evict_oldest)
    }

    /// Continues at `head` after a gap: Kafka no longer has the records in between. Cursors before
    /// `head` find that their log was evicted and request a page, whose error reports the lost
    /// range.
    pub(crate) fn restart(&self, head: Offset) {
        self.fence.lock().discard();
        if let Some(last_values) = &self.last_values {
            last_values.restart(head);
        }
        self.window(|window| window.restart(head));
        self.alert_all();
    }

    /// Closes the partition because its topic is gone. Every subscription ends with this reason.
    pub(crate) fn close(&self, reason: UnsubscribeReason) {
        let reason = u8::try_from(i32::from(reason)).expect("there are fewer than 256 reasons");
        self.closed.store(reason, Ordering::Release);
        if let Some(last_values) = &self.last_values {
            last_values.close();
        }
        // Sessions that still have a lease read nothing more, so the records can be dropped.
        self.window(|window| window.restart(window.head()));
        self.alert_all();
    }

    /// Returns why the partition was closed; `None` if it is open.
    pub(crate) fn closed(&self) -> Option<UnsubscribeReason> {
        match UnsubscribeReason::try_from(i32::from(self.closed.load(Ordering::Acquire))) {
            Ok(UnsubscribeReason::Unspecified) | Err(_) => None,
            Ok(reason) => Some(reason),
        }
    }

    fn alert_all(&self) {
        let logs: Vec<_> = self.window.lock().logs().cloned().collect();
        for log in logs {
            log.alert();
        }
    }

    /// Changes the window, then publishes its new bounds and size.
    fn window<T>(&self, change: impl FnOnce(&mut Window) -> T) -> T {
        let mut window = self.window.lock();
        let before = window.memory();
        let result = change(&mut window);
        let after = window.memory();
        self.memory.store(after, Ordering::Relaxed);
        if after >= before {
            self.budget.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(before - after, Ordering::Relaxed);
        }
        self.tail.store(window.tail().get(), Ordering::Release);
        self.head.store(window.head().get(), Ordering::Release);
        result
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.window.get_mut().memory(), Ordering::Relaxed);
    }
}
