//! Publishing what is due, in lanes that each keep the order of their keys.
//!
//! A lane takes whatever the clock says is due, as one batch, and says in the ledger what became of each event. It never
//! repeats one: what was not acknowledged is counted, and may or may not arrive.

mod kafka;

mod stream;

mod unary;

use std::{ops::Range, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tailcast_proto::ingest::v1::{self, ingest_service_client::IngestServiceClient, outcome};
use tokio::{sync::watch, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use self::kafka::Producer;
use crate::{
    cli::{Places, Publishers},
    interval::Distribution,
    layout::Layout,
    ledger::Ledger,
    payload::Format,
    plan::Plan,
};

pub(crate) use self::kafka::create_topic;

/// The most events of one request; ingest takes no more.
const BATCH_MAX: u64 = 500;

/// The most bytes of one request: half of what gRPC servers take by default.
const BATCH_BYTES_MAX: u64 = 2 << 20;

/// What all lanes share.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub(crate) plan: Arc<Plan>,
    pub(crate) format: Arc<Format>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) layout: Layout,
    pub(crate) topic: String,
    /// The size of a value.
    pub(crate) payload: usize,
}

/// The way in, once it is there.
pub(crate) enum WayIn {
    /// Publish streams of the ingest service, each on its own connection.
    Streams(Box<Endpoint>),
    /// Calls of the ingest service, over one connection.
    Unary(Channel),
    /// Kafka itself.
    Kafka(Producer),
}

/// The lanes at work. Each ends when its events are published and answered, with how late it took them, or when it cannot go
/// on.
pub(crate) type Lanes = JoinSet<Result<Distribution>>;

/// One publisher's part of the plan.
struct Lane {
    publishing: Arc<Publishing>,
    number: u64,
    due: watch::Receiver<u64>,
    start: Instant,
    /// The index of the next event on this lane.
    next: u64,
    /// How late this process was itself, in microseconds: from when an event was due to when a lane that had nothing else to
    /// do took it.
    lateness: Distribution,
}

impl WayIn {
    /// Connects to ingest, or makes the Kafka producer.
    pub(crate) async fn open(places: &Places, ledger: &Arc<Ledger>) -> Result<Self> {
        let Some(address) = &places.ingest else {
            let broker = places.kafka.as_deref().context("neither --ingest nor --kafka is given")?;
            return Ok(Self::Kafka(kafka::producer(broker, ledger)?));
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("--ingest {address} is no HOST:PORT"))?
            .tcp_nodelay(true);
        let channel =
            endpoint.connect().await.with_context(|| format!("no ingest service answers at {address}"))?;
        Ok(match places.publishers {
            Publishers::Stream => Self::Streams(Box::new(endpoint)),
            Publishers::Unary => Self::Unary(channel),
        })
    }

    /// Starts the lanes.
    pub(crate) fn start(
        &self,
        publishing: &Arc<Publishing>,
        due: &watch::Receiver<u64>,
        start: Instant,
    ) -> Lanes {
        let mut lanes = Lanes::new();
        for number in 0..publishing.plan.lanes() {
            let lane = Lane {
                publishing: Arc::clone(publishing),
                number,
                due: due.clone(),
                start,
                next: 0,
                lateness: Distribution::new(),
            };
            match self {
                Self::Streams(endpoint) => lanes.spawn(stream::run(lane, endpoint.connect_lazy())),
                Self::Unary(channel) => {
                    lanes.spawn(unary::run(lane, IngestServiceClient::new(channel.clone())))
                }
                Self::Kafka(producer) => lanes.spawn(kafka::run(lane, Arc::clone(producer))),
            };
        }
        lanes
    }
}

impl Lane {
    /// Waits until events of this lane are due and takes them, at most as many as a request may have. `None`: that was all.
    async fn take(&mut self) -> Option<Range<u64>> {
        let plan = &self.publishing.plan;
        let end = plan.on_lane(self.number, plan.events());
        let mut waited = false;
        let due = loop {
            if self.next == end {
                return None;
            }
            let due = plan.on_lane(self.number, *self.due.borrow_and_update());
            if due > self.next {
                break due;
            }
            waited = true;
            // The clock ends only when all is due, which the next turn sees.
            let _ = self.due.changed().await;
        };
        if waited {
            let at = plan.due_ns(plan.number(self.number, self.next));
            let late = self.start.elapsed().as_nanos().saturating_sub(u128::from(at)) / 1000;
            self.lateness.record(u64::try_from(late).unwrap_or(u64::MAX));
        }
        // 64 bytes are more than the key, the topic's tag and the framing of a small message take.
        let bytes = self.publishing.payload as u64 + self.publishing.topic.len() as u64 + 64;
        let batch = (BATCH_BYTES_MAX / bytes).clamp(1, BATCH_MAX);
        let taken = self.next..due.min(self.next + batch);
        self.next = taken.end;
        self.publishing.ledger.publish(taken.end - taken.start);
        Some(taken)
    }

    /// Returns the number of one of this lane's events.
    fn number(&self, index: u64) -> u64 {
        self.publishing.plan.number(self.number, index)
    }

    fn messages(&self, batch: Range<u64>) -> Vec<v1::Message> {
        batch.map(|index| self.publishing.message(self.number(index))).collect()
    }
}

impl Publishing {
    fn message(&self, number: u64) -> v1::Message {
        let event = self.plan.event(number);
        v1::Message {
            topic: self.topic.clone(),
            key: Some(Bytes::from(self.layout.key(event.key))),
            value: Some(self.format.write(&event)),
            ..Default::default()
        }
    }

    /// Notes what ingest says about an event.
    fn note(&self, number: u64, outcome: Option<v1::Outcome>) {
        let reason = |reason| v1::Reason::try_from(reason).unwrap_or_default().as_str_name();
        match outcome.and_then(|outcome| outcome.result) {
            Some(outcome::Result::Acknowledged(_)) => self.ledger.acknowledge(number),
            Some(outcome::Result::Refused(refused)) => self.ledger.refuse(number, reason(refused.reason)),
            Some(outcome::Result::Unknown(unknown)) => self.ledger.unknown(reason(unknown.reason)),
            None => self.ledger.unknown("no outcome"),
        }
    }
}
