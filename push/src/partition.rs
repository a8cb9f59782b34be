//! One partition that this node tails, shared by the feed and by the sessions that watch it.
//!
//! The window is behind a lock that the feed and those who attach take. Sessions that read take only the lock of their
//! channel's log; where the window begins and ends they learn from two atomics.
//!
//! Invariant: `head` moves after the logs have what is before it: a session that loads `head`, then reads its log to the
//! end, has seen everything before that head. A log that lost what a cursor needs says so itself, whatever `tail` says.

mod budget;
mod lag;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tailcast_proto::{Epoch, Offset, PartitionId, TopicName, push::v1::UnsubscribeReason};

pub(crate) use self::{budget::Budget, lag::Lag};
use crate::{
    channel_log::{ChannelLog, Encoding, NodeChannel},
    conflation::SurveyKeys,
    doorbell::{Doorbell, Ringer},
    fan_out::FanOut,
    fence::{Arrival, Fence, Needs},
    last_values::KeptValues,
    record_batch::RecordBatch,
    window::Window,
};

/// One partition that this node tails.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: TopicName,
    pub(crate) id: PartitionId,
    /// Which incarnation of the topic this is.
    pub(crate) epoch: Epoch,
    /// Taken before the window's lock, never inside it.
    fence: Mutex<Fence>,
    window: Mutex<Window>,
    head: AtomicI64,
    tail: AtomicI64,
    memory: AtomicUsize,
    /// The end of the partition in Kafka, as the last fetch said; -1 before the first.
    high_watermark: AtomicI64,
    /// The timestamp of the last record read, in milliseconds since the Unix epoch; -1 before the first.
    last_timestamp_ms: AtomicI64,
    /// Since when Kafka's end is known to be past the head, in milliseconds since the Unix epoch; -1 while it is not.
    behind_since_ms: AtomicI64,
    /// An `UnsubscribeReason`, once the topic is gone.
    closed: AtomicU8,
    /// The hub has let go of it: it is not to be tailed again.
    forgotten: AtomicBool,
    last_values: Option<Arc<KeptValues>>,
    budget: Arc<Budget>,
    fan_out: Arc<FanOut>,
}

/// What became of records that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Appended,
    /// They are appended, and Kafka has to be asked so that the next ones can be.
    AppendedNotLong,
    /// They are held until Kafka confirms the topic's id.
    Held,
    /// They were given up: the partition has to be assigned anew.
    Overflow,
}

impl Partition {
    pub(crate) fn new(
        topic: TopicName,
        epoch: Epoch,
        id: PartitionId,
        head: Offset,
        budget: Arc<Budget>,
        fan_out: Arc<FanOut>,
        last_values: Option<Arc<KeptValues>>,
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
            forgotten: AtomicBool::new(false),
            last_values,
            budget,
            fan_out,
        })
    }

    /// The offset after the last record that this node has read.
    pub(crate) fn head(&self) -> Offset {
        Offset::new(self.head.load(Ordering::Acquire)).unwrap_or(Offset::ZERO)
    }

    /// The first offset from which on the window is complete.
    pub(crate) fn tail(&self) -> Offset {
        Offset::new(self.tail.load(Ordering::Acquire)).unwrap_or(Offset::ZERO)
    }

    /// The latest value of each key; `None` when they are not kept of this topic.
    pub(crate) fn last_values(&self) -> Option<&Arc<KeptValues>> {
        self.last_values.as_ref()
    }

    /// What the window and its logs hold of the node's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Takes records that were taken at `now` and fetched after `fetched_after`: appends them if they are of this topic, holds
    /// them while that is not sure.
    pub(crate) fn arrive(&self, batch: RecordBatch, fetched_after: Instant, now: Instant) -> Arrived {
        let mut rung = Vec::new();
        let arrived = {
            let mut fence = self.fence.lock();
            match fence.arrive(batch, fetched_after, now) {
                Arrival::Trusted(batch) => {
                    // Under the fence's lock: what was held before goes first.
                    self.grow(batch, &mut rung);
                    Arrived::Appended
                }
                Arrival::TrustedNotLong(batch) => {
                    self.grow(batch, &mut rung);
                    Arrived::AppendedNotLong
                }
                Arrival::Held => Arrived::Held,
                Arrival::Overflow => Arrived::Overflow,
            }
        };
        self.fan_out.attend(rung);
        arrived
    }

    /// Begins to ask Kafka for the topic's id. Returns whether that is needed, and nobody asks yet.
    pub(crate) fn ask(&self) -> bool {
        self.fence.lock().ask()
    }

    /// Takes the answer to a question asked at `asked_at`: whether the topic's id is that of this partition. `None`: there
    /// was no answer. Returns what is needed then.
    pub(crate) fn answered(&self, asked_at: Instant, is_same: Option<bool>) -> Needs {
        let mut rung = Vec::new();
        let needs = {
            let mut fence = self.fence.lock();
            match is_same {
                Some(true) => {
                    fence.confirmed(asked_at).into_iter().for_each(|batch| self.grow(batch, &mut rung));
                }
                Some(false) => fence.give_up(),
                None => return fence.unanswered(),
            }
            fence.needs()
        };
        self.fan_out.attend(rung);
        needs
    }

    /// Says that it is not to be tailed again. Said before it is released.
    pub(crate) fn forget(&self) {
        self.forgotten.store(true, Ordering::SeqCst);
    }

    /// Whether it is not to be tailed again.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Drops what is held: it is going to be read again.
    pub(crate) fn give_up_held(&self) {
        self.fence.lock().give_up();
    }

    /// Whether something is held until Kafka confirms the topic's id.
    pub(crate) fn is_holding(&self) -> bool {
        self.fence.lock().is_holding()
    }

    /// Appends records that Kafka has after the head, and rings whom they concern.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn append(&self, batch: RecordBatch) {
        let mut rung = Vec::new();
        self.grow(batch, &mut rung);
        self.fan_out.attend(rung);
    }

    /// Appends records that Kafka has after the head. Adds those who are to be attended to for them, once no lock is held.
    fn grow(&self, batch: RecordBatch, rung: &mut Vec<Arc<Doorbell>>) {
        self.last_timestamp_ms.store(batch.last_timestamp_ms(), Ordering::Relaxed);
        // Before the head moves: whoever reads them up to a head finds what is before it.
        if let Some(last_values) = &self.last_values {
            last_values.append(&batch);
        }
        for log in self.window(|window| window.append(batch)) {
            log.ring(rung);
        }
    }

    /// Subscribes to a channel: its log, complete from `from` on if the window still has that.
    pub(crate) fn attach(
        &self,
        channel: &Arc<NodeChannel>,
        encoding: Encoding,
        from: Offset,
        ringer: &Arc<Ringer>,
    ) -> Arc<ChannelLog> {
        self.window(|window| {
            let log = window.attach(channel, encoding, from);
            // Under the window's lock: a log without subscribers may be forgotten.
            log.join(Arc::clone(ringer));
            if self.closed().is_some() {
                // Who joins after the others were told is told too.
                ringer.alert();
            }
            log
        })
    }

    /// Completes a log from `from` on, if the window still has that: a cursor comes back from catching up.
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

    /// What bounds the surveys of conflated subscribers that are behind.
    pub(crate) fn survey_keys(&self) -> &Arc<SurveyKeys> {
        self.budget.survey_keys()
    }

    /// Drops the oldest records. Returns whether there were any.
    pub(crate) fn evict_oldest(&self) -> bool {
        self.window(Window::evict_oldest)
    }

    /// Goes on at `head`, which is not where the last record was: what lies between is gone from Kafka. The cursors
    /// before it find their log behind them and ask Kafka, which says what is lost.
    pub(crate) fn restart(&self, head: Offset) {
        self.fence.lock().give_up();
        if let Some(last_values) = &self.last_values {
            last_values.restart(head);
        }
        self.window(|window| window.restart(head));
        self.alert_all();
    }

    /// Says that the topic is gone: every subscription ends with this reason.
    pub(crate) fn close(&self, reason: UnsubscribeReason) {
        let reason = u8::try_from(i32::from(reason)).expect("there are fewer than 256 reasons");
        self.closed.store(reason, Ordering::Release);
        if let Some(last_values) = &self.last_values {
            last_values.close();
        }
        // Whoever still holds the partition reads nothing of it any more, and must not keep its memory.
        self.window(|window| window.restart(window.head()));
        self.alert_all();
    }

    /// Returns why the topic is gone; `None` while it is there.
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

    /// Runs `change` on the window and then makes its new bounds and size known.
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
