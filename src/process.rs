//! The common part of every service process: log, serve probes, run until a signal, drain.
//!
//! Errors at start get their exit codes here. Configuration errors are found before a socket is
//! opened, and the error for an address in use names the flag that selects another.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tailcast_ingest::{self as ingest, Ingest, ProducerError};
use tailcast_push::{self as push, Push};
use tailcast_services::{
    admin::Admin,
    config::Misspelt,
    lifecycle::{Lifecycle, Tasks},
    log,
    metrics::Metrics,
    readiness::Readiness,
    topics::{Epochs, StartError},
};

use crate::{
    config::{Config, Layers},
    exit::{Exit, Failure, OrExit},
};

/// A service process. Its services are bound and started between [`Process::begin`] and
/// [`Process::run`].
#[derive(Debug)]
pub(crate) struct Process {
    lifecycle: Lifecycle,
    readiness: Readiness,
    metrics: Metrics,
    admin: Admin,
    within: Duration,
    node: String,
    brokers: String,
    ingest: Option<SocketAddr>,
    push: Option<SocketAddr>,
}

/// The advice in the error for an address in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remedies {
    /// For the admin listener.
    pub(crate) admin: &'static str,
    /// For the service.
    pub(crate) service: &'static str,
}

impl Process {
    /// Starts logging, and opens the admin listener.
    pub(crate) async fn begin(config: &Config, remedies: Remedies) -> Result<Self, Failure> {
        log::init(&config.log).or_exit(Exit::Usage)?;
        for Misspelt { found, meant } in Layers::of_environment().misspelt_variables() {
            tracing::warn!(variable = found, "unknown environment variable ignored; did you mean {meant}?");
        }
        let admin =
            Admin::bind(&config.admin).await.map_err(|error| address_in_use(error, remedies.admin))?;
        Ok(Self {
            lifecycle: Lifecycle::new(),
            readiness: Readiness::new(),
            metrics: Metrics::new(),
            admin,
            within: config.drain.within,
            node: config.push.node_name(),
            brokers: String::new(),
            ingest: None,
            push: None,
        })
    }

    /// Binds ingest.
    pub(crate) async fn ingest(
        &mut self,
        config: &Config,
        epochs: Epochs,
        remedies: Remedies,
    ) -> Result<Ingest, Failure> {
        let (own, kafka) = (config.ingest.clone(), config.kafka.clone());
        let registry = &mut self.metrics.registry;
        let bound = Ingest::bind(own, kafka, epochs, &self.lifecycle, &self.readiness, registry).await;
        let bound = bound.map_err(|error| ingest_failure(error, remedies))?;
        self.brokers = config.kafka.brokers.join(",");
        self.ingest = Some(bound.local_addr().or_exit(Exit::Internal)?);
        Ok(bound)
    }

    /// Binds push.
    pub(crate) async fn push(
        &mut self,
        config: &Config,
        epochs: Epochs,
        remedies: Remedies,
    ) -> Result<Push, Failure> {
        let (own, kafka) = (config.push.clone(), config.kafka.clone());
        let registry = &mut self.metrics.registry;
        let bound = Push::bind(own, kafka, epochs, &self.lifecycle, &self.readiness, registry).await;
        let bound = bound.map_err(|error| push_failure(error, remedies))?;
        self.brokers = config.kafka.brokers.join(",");
        self.push = Some(bound.local_addr());
        Ok(bound)
    }

    /// Returns the lifecycle, which starts tasks.
    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns the address of the admin listener.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Serves until a signal arrives or a service fails, then drains.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Self { lifecycle, readiness, metrics, admin, within, node, brokers, ingest, push } = self;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            node,
            brokers,
            ingest = ingest.map(tracing::field::display),
            push = push.map(tracing::field::display),
            admin = %admin.local_addr(),
            "started"
        );
        admin.serve(&lifecycle, readiness.clone(), Arc::new(metrics.registry));
        lifecycle.until_signal().await;
        readiness.drain();
        let (running, began) = (lifecycle.running(), Instant::now());
        let ending = lifecycle.finish(within).await;
        if !ending.is_clean() {
            return Err(Failure::message(Exit::Internal, ending));
        }
        tracing::info!(ended = %Tasks(&running), took = ?began.elapsed(), "drained");
        Ok(Exit::Done)
    }
}

/// Returns why ingest does not start. If librdkafka refuses to create a client, the configuration
/// is invalid.
fn ingest_failure(error: ingest::BindError, remedies: Remedies) -> Failure {
    match error {
        ingest::BindError::Listen { .. } => address_in_use(error, remedies.service),
        ingest::BindError::Config(_)
        | ingest::BindError::Kafka(_)
        | ingest::BindError::Producer(ProducerError::Configuration(_))
        | ingest::BindError::Topics(StartError::Client(_)) => Failure::new(Exit::Usage, error),
        ingest::BindError::Producer(ProducerError::Thread(_))
        | ingest::BindError::Topics(StartError::Thread(_))
        | ingest::BindError::Reflection(_) => Failure::new(Exit::Internal, error),
    }
}

/// Returns why push does not start, likewise.
fn push_failure(error: push::BindError, remedies: Remedies) -> Failure {
    match error {
        push::BindError::Listen { .. } => address_in_use(error, remedies.service),
        push::BindError::Config(_)
        | push::BindError::Property(_)
        | push::BindError::Kafka(_)
        | push::BindError::Topics(StartError::Client(_)) => Failure::new(Exit::Usage, error),
        error => Failure::new(Exit::Internal, error),
    }
}

/// Returns the failure for an address that cannot be bound, with advice.
fn address_in_use(error: impl Into<anyhow::Error>, remedy: &str) -> Failure {
    let cause = Failure::new(Exit::Unavailable, error);
    Failure::message(Exit::Unavailable, format_args!("{cause}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rdkafka::error::KafkaError;

    use super::*;

    const REMEDIES: Remedies = Remedies { admin: "a", service: "choose another" };

    fn no_client() -> KafkaError {
        KafkaError::ClientCreation("Property `sasl.username` must be set".to_owned())
    }

    #[test]
    fn a_client_that_librdkafka_refuses_to_create_is_an_invalid_configuration() {
        // Each of these ended with 70, an internal error, after which a supervisor restarts the
        // process for ever.
        let exit = |error| ingest_failure(error, REMEDIES).exit();
        assert_eq!(exit(ProducerError::Configuration(no_client()).into()), Exit::Usage);
        assert_eq!(exit(StartError::Client(no_client()).into()), Exit::Usage);
        assert_eq!(exit(StartError::Thread(io::ErrorKind::WouldBlock.into()).into()), Exit::Internal);
        let exit = |error| push_failure(error, REMEDIES).exit();
        assert_eq!(exit(no_client().into()), Exit::Usage);
        assert_eq!(exit(StartError::Client(no_client()).into()), Exit::Usage);
        assert_eq!(exit(StartError::Thread(io::ErrorKind::WouldBlock.into()).into()), Exit::Internal);
    }

    #[test]
    fn an_address_in_use_is_reported_with_the_flag_that_selects_another() {
        let taken = || io::ErrorKind::AddrInUse.into();
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        for failure in [
            ingest_failure(ingest::BindError::Listen { address: listen, source: taken() }, REMEDIES),
            push_failure(push::BindError::Listen { listen, source: taken() }, REMEDIES),
        ] {
            assert_eq!(failure.exit(), Exit::Unavailable);
            assert!(failure.to_string().ends_with("; choose another"), "{failure}");
        }
    }
}
