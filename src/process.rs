//! What every service process does around its parts: log, be probed, run until it is told to end, drain, say how it ended.
//!
//! Every error on the way to serving gets its exit code here: what is wrong with the configuration is found before a socket
//! is opened, and an address that is taken is answered with the flag that chooses another.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tailcast_ingest::Ingest;
use tailcast_push::Push;
use tailcast_services::{
    admin::Admin, lifecycle::Lifecycle, log, metrics::Metrics, readiness::Readiness, topics::Epochs,
};

use crate::{
    command::exit::{Exit, Failure, OrExit},
    config::Config,
};

/// A process that serves. Its parts are bound and started between [`Process::begin`] and [`Process::run`].
#[derive(Debug)]
pub(crate) struct Process {
    lifecycle: Lifecycle,
    readiness: Readiness,
    metrics: Metrics,
    admin: Admin,
    within: Duration,
}

/// What to do when an address is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remedies {
    /// The admin listener's.
    pub(crate) admin: &'static str,
    /// The service's.
    pub(crate) service: &'static str,
}

impl Process {
    /// Begins to log, and opens the admin listener.
    pub(crate) async fn begin(config: &Config, remedies: Remedies) -> Result<Self, Failure> {
        log::init(&config.log).or_exit(Exit::Usage)?;
        let admin = Admin::bind(&config.admin).await.map_err(|error| unavailable(error, remedies.admin))?;
        Ok(Self {
            lifecycle: Lifecycle::new(),
            readiness: Readiness::new(),
            metrics: Metrics::new(),
            admin,
            within: config.drain.within,
        })
    }

    /// Binds the way in.
    pub(crate) async fn ingest(
        &mut self,
        config: &Config,
        epochs: Epochs,
        remedies: Remedies,
    ) -> Result<Ingest, Failure> {
        let (own, kafka) = (config.ingest.clone(), config.kafka.clone());
        let registry = &mut self.metrics.registry;
        let bound = Ingest::bind(own, kafka, epochs, &self.lifecycle, &self.readiness, registry).await;
        bound.map_err(|error| match error {
            tailcast_ingest::BindError::Listen { .. } => unavailable(error, remedies.service),
            tailcast_ingest::BindError::Config(_) | tailcast_ingest::BindError::Kafka(_) => {
                Failure::new(Exit::Usage, error)
            }
            error => Failure::new(Exit::Internal, error),
        })
    }

    /// Binds the way out.
    pub(crate) async fn push(
        &mut self,
        config: &Config,
        epochs: Epochs,
        remedies: Remedies,
    ) -> Result<Push, Failure> {
        let (own, kafka) = (config.push.clone(), config.kafka.clone());
        let registry = &mut self.metrics.registry;
        let bound = Push::bind(own, kafka, epochs, &self.lifecycle, &self.readiness, registry).await;
        bound.map_err(|error| match error {
            tailcast_push::BindError::Listen { .. } => unavailable(error, remedies.service),
            tailcast_push::BindError::Config(_) | tailcast_push::BindError::Property(_) => {
                Failure::new(Exit::Usage, error)
            }
            error => Failure::new(Exit::Internal, error),
        })
    }

    /// Returns what tasks are started on.
    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns where probes and metrics are served.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Serves until a signal comes or a part fails, then drains.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Self { lifecycle, readiness, metrics, admin, within } = self;
        tracing::info!(address = %admin.local_addr(), "admin listens");
        admin.serve(&lifecycle, readiness.clone(), Arc::new(metrics.registry));
        lifecycle.until_signal().await;
        readiness.drain();
        let ending = lifecycle.finish(within).await;
        if !ending.is_clean() {
            return Err(Failure::say(Exit::Internal, ending));
        }
        tracing::info!("drained");
        Ok(Exit::Done)
    }
}

/// An address cannot be listened on; `remedy` says what can be done.
fn unavailable(error: impl Into<anyhow::Error>, remedy: &str) -> Failure {
    let cause = Failure::new(Exit::Unavailable, error);
    Failure::say(Exit::Unavailable, format_args!("{cause}; {remedy}"))
}
