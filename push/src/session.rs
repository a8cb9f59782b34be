//! One client's stay on this node: one WebSocket, its subscriptions, and the executors that serve
//! them.
//!
//! A session has no queue of deliveries. When its socket has taken the last message, it gathers
//! what its cursors have not delivered yet and writes that as one message. While the socket takes
//! nothing, its cursors fall behind, and nothing grows.
//!
//! All decisions are in [`rules`]: plain data, without IO. Two executors feed it events and carry
//! out the actions that it returns, under the session's lock, and neither waits for the client or
//! for Kafka while it has the lock. The [task](task) does what takes time: it reads from the
//! client, and waits for starts, pages, deadlines and a blocked socket. When there is something new
//! and the socket takes it, a thread of the [fan-out](crate::wake::fan_out) writes it without the
//! task.

pub(crate) mod admission;
mod close;
mod execution;
mod inbound;
mod outbox;
mod reply;
mod request;
mod rules;
mod sources;
mod start;
mod task;
mod waiting;
pub(crate) mod websocket;
mod writer;

#[cfg(feature = "benchmarks")]
pub(crate) mod benchmarks;

use std::{sync::Arc, time::Instant};

use futures_util::{future::BoxFuture, stream::FuturesUnordered};
use tailcast_proto::delivery::Format;
use tailcast_services::{lifecycle::Lifecycle, principal::Principal};

use self::{
    admission::Admission,
    outbox::Outbox,
    request::{CommandError, Request},
    rules::{Moment, PageAnswer, Rules},
    start::Started,
};
pub(crate) use self::{
    close::CloseReason,
    rules::{SessionPolicy, liveness::Clock},
    sources::Sources,
    start::Starter,
    waiting::WaitingBudget,
    writer::Writer,
};
use crate::{clock::wall_clock_ms, metrics::SessionMetrics, wake::doorbell::Doorbell};

/// Opens the sessions of a node.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) policy: Arc<SessionPolicy>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) metrics: Arc<SessionMetrics>,
    pub(crate) waiting: WaitingBudget,
    pub(crate) admission: Admission,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) clock: Clock,
}

/// One client's stay on this node.
pub(crate) struct Session<W> {
    /// The client's identity, for every start and every page.
    principal: Principal,
    rules: Rules,
    outbox: Outbox,
    writer: W,
    format: Format,
    sources: Arc<Sources>,
    metrics: Arc<SessionMetrics>,
    clock: Clock,
    starts: FuturesUnordered<BoxFuture<'static, (Request, Result<Started, CommandError>)>>,
    pages: FuturesUnordered<BoxFuture<'static, PageAnswer>>,
    /// When the task wakes up by itself.
    alarm: Instant,
}

impl Sessions {
    /// Opens a session after its upgrade.
    pub(crate) fn open<W: Writer>(
        &self,
        (id, principal): (u64, Principal),
        format: Format,
        writer: W,
    ) -> Session<W> {
        let rules =
            Rules::new(Arc::clone(&self.policy), id, format, Arc::new(Doorbell::default()), Moment::now());
        Session {
            principal,
            outbox: Outbox::new(self.policy.sessions(), self.waiting.waiting()),
            writer,
            format,
            sources: Arc::clone(&self.sources),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            starts: FuturesUnordered::new(),
            pages: FuturesUnordered::new(),
            alarm: rules.alarm_at(&self.clock),
            rules,
        }
    }
}

impl Moment {
    /// Reads the clocks, and draws a random number.
    fn now() -> Self {
        Self { now: Instant::now(), wall_ms: wall_clock_ms(), random: fastrand::f64() }
    }
}
