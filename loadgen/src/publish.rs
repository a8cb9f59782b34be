//! Publishes due events, in lanes that preserve the order of their keys.
//!
//! A lane sends all due events as one batch, and records the outcome of each in the ledger. It
//! never retries: an event that was not acknowledged is counted, and may or may not arrive.

mod kafka;

mod lane;

mod lateness;

mod stream;

mod unary;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tailcast_proto::ingest::v1::{self, ingest_service_client::IngestServiceClient, outcome};
use tokio::{sync::watch, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use self::{kafka::Producer, lane::Lane};
use crate::{
    cli::{Publishers, Targets},
    layout::Layout,
    ledger::Ledger,
    payload::Format,
    plan::Plan,
};

pub(crate) use self::lateness::Lateness;

/// How long ingest may take to accept a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Shared by all lanes.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub(crate) plan: Arc<Plan>,
    pub(crate) format: Arc<Format>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) layout: Layout,
    pub(crate) topic: String,
    /// The size of a value.
    pub(crate) payload: usize,
    pub(crate) lateness: Arc<Lateness>,
}

/// An open publish path.
pub(crate) enum PublishPath {
    /// Publish streams of the ingest service, each on its own connection.
    Streams(Box<Endpoint>),
    /// Publish calls of the ingest service, over one connection.
    Unary(Channel),
    /// Directly to Kafka.
    Kafka(Producer),
}

/// The running lanes. A lane ends when its events are published and answered, or with an error.
pub(crate) type Lanes = JoinSet<Result<()>>;

impl PublishPath {
    /// Connects to ingest, or creates the Kafka producer.
    pub(crate) async fn open(targets: &Targets, ledger: &Arc<Ledger>) -> Result<Self> {
        let Some(address) = &targets.ingest else {
            let broker = targets.kafka.as_deref().context("neither --ingest nor --kafka is given")?;
            return Ok(Self::Kafka(kafka::producer(broker, ledger)?));
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("--ingest {address} is not HOST:PORT"))?
            .connect_timeout(CONNECTED_WITHIN)
            .tcp_nodelay(true);
        let channel =
            endpoint.connect().await.with_context(|| format!("no ingest service answers at {address}"))?;
        Ok(match targets.publishers {
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
            let lane = Lane::new(Arc::clone(publishing), number, due.clone(), start);
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

    /// Records ingest's outcome of an event.
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
