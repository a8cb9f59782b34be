//! The nodes of a scenario: the real services, in this process.
//!
//! Each has its own runtime, lifecycle and port, so that one can be killed like a process: its
//! tasks stop where they are, and its sockets close without a message.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tailcast_ingest::Ingest;
use tailcast_push::Push;
use tailcast_services::lifecycle::{Ending, Lifecycle};
use tailcast_services::metrics::{Exposition, Metrics, encode};
use tailcast_services::readiness::{Readiness, State, Status};
use tokio::runtime::{Builder, Runtime};

use crate::broker::Broker;
use crate::configuration::Configuration;
use crate::deadline::eventually;
use crate::metrics::sum_of;

/// Timeout of a drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// A running ingest or push node. Dropping it kills it.
pub struct Node {
    address: SocketAddr,
    lifecycle: Lifecycle,
    readiness: Readiness,
    registry: Registry,
    /// `None` once it was killed.
    runtime: Option<Runtime>,
}

impl Node {
    /// Starts an ingest node on a free port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn ingest(broker: &Broker, Configuration { ingest, .. }: Configuration) -> Self {
        let (kafka, epochs) = (broker.settings(), broker.epochs());
        Self::start(async move |lifecycle, readiness, registry| {
            let node = Ingest::bind(ingest, kafka, epochs, lifecycle, readiness, registry).await;
            let node = node.expect("the ingest node binds");
            let address = node.local_addr().expect("a bound node has an address");
            node.serve(lifecycle);
            address
        })
    }

    /// Starts a push node on a free port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn push(broker: &Broker, Configuration { push, .. }: Configuration) -> Self {
        let (kafka, epochs) = (broker.settings(), broker.epochs());
        Self::start(async move |lifecycle, readiness, registry| {
            let node = Push::bind(push, kafka, epochs, lifecycle, readiness, registry).await;
            let node = node.expect("the push node binds");
            let address = node.local_addr();
            node.serve();
            address
        })
    }

    fn start(bind: impl AsyncFnOnce(&Lifecycle, &Readiness, &mut Registry) -> SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let lifecycle = Lifecycle::new();
        let readiness = Readiness::new();
        let Metrics { mut registry } = Metrics::new();
        let bound = bind(&lifecycle, &readiness, &mut registry);
        let address = tokio::task::block_in_place(|| runtime.block_on(bound));
        Self { address, lifecycle, readiness, registry, runtime: Some(runtime) }
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it is ready for traffic.
    ///
    /// # Panics
    ///
    /// When it does not become ready; with the reasons.
    pub async fn ready(&self) {
        eventually("the node is ready", async || self.state(), State::is_ready).await;
    }

    /// Waits until it reports that it is not ready for traffic, and returns the report.
    ///
    /// # Panics
    ///
    /// When it stays ready.
    pub async fn not_ready(&self) -> State {
        eventually("the node is not ready", async || self.state(), |state| !state.is_ready()).await
    }

    /// Waits until one of its parts reports a problem, even if it is still ready.
    ///
    /// # Panics
    ///
    /// When no problem is reported.
    pub async fn in_trouble(&self) -> State {
        eventually("a problem is reported", async || self.state(), |state| !is_well(state)).await
    }

    /// Waits until none of its parts reports a problem.
    ///
    /// # Panics
    ///
    /// When a problem persists; with its description.
    pub async fn well(&self) {
        let _state = eventually("no problem is reported", async || self.state(), is_well).await;
    }

    /// Returns its readiness, with the reports of its parts.
    pub fn state(&self) -> State {
        self.readiness.state()
    }

    /// Returns its metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        encode(&self.registry, Exposition::Text).expect("metrics can be written")
    }

    /// Returns the sum of a metric over its labels; 0 if there is none.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_with(name, "")
    }

    /// Returns the sum of a metric over its series whose labels contain `label`.
    pub fn metric_with(&self, name: &str, label: &str) -> f64 {
        sum_of(&self.metrics(), name, label)
    }

    /// Starts its drain, as SIGTERM does, without waiting.
    pub fn drain(&self) {
        self.readiness.drain();
        self.lifecycle.drain();
    }

    /// Waits until it has drained.
    ///
    /// # Panics
    ///
    /// When a task failed, or was still running at the deadline.
    pub async fn drained(&self) {
        match self.lifecycle.finish(DRAIN_WITHIN).await {
            Ending::Clean => {}
            ending => panic!("the node did not drain: {ending}"),
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            // Its own threads cannot be stopped from outside.
            self.lifecycle.drain();
        }
    }
}

fn is_well(state: &State) -> bool {
    state.is_ready() && state.conditions().all(|(_, status)| *status == Status::Ready)
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
