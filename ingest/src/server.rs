//! The server. `bind` may fail, `serve` cannot.
//!
//! This file creates and connects the parts; `drain` ends them.

mod drain;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tailcast_proto::ingest::v1::ingest_service_server::IngestServiceServer;
use tailcast_services::{
    kafka::{PropertyError, Settings},
    lifecycle::{Lifecycle, Phase},
    listener,
    permission::Permissions,
    readiness::Readiness,
    topics::{Epochs, StartError, Topics},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};

use self::drain::Drain;
use crate::{
    budget::InFlightBudget,
    config::{Config, ConfigError},
    connections::{ConnectionLimits, accept},
    gate::{ArrivalLimits, Gate},
    health::Health,
    metrics::Metrics,
    producer::{Producer, ProducerError, ProducerGuard},
    publish::Calls,
    publisher::Publisher,
    service::Ingestion,
};

/// The server, bound to its address and not serving yet.
pub struct Ingest {
    listener: TcpListener,
    router: Router,
    health: Health,
    producer: Producer,
    producer_guard: ProducerGuard,
    metrics: Arc<Metrics>,
    overdue: CancellationToken,
    connection_limits: ConnectionLimits,
    drain_within: Duration,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The combination of values is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be bound.
    #[error("ingest.listen: cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A Kafka property is invalid.
    #[error(transparent)]
    Kafka(#[from] PropertyError),
    /// The producer cannot start.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The lookup of topics cannot start.
    #[error(transparent)]
    Topics(#[from] StartError),
    /// Reflection rejected the descriptors of this build.
    #[error("cannot serve gRPC reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
}

impl Ingest {
    /// Checks the configuration, binds the address and creates the producer. Kafka need not be
    /// reachable.
    ///
    /// # Errors
    ///
    /// When the configuration or the Kafka settings are invalid, or the address cannot be bound.
    pub async fn bind(
        config: Config,
        kafka: Settings,
        epochs: Epochs,
        lifecycle: &Lifecycle,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        let permissions = Permissions::unrestricted();
        Self::bind_with(permissions, config, kafka, epochs, lifecycle, readiness, registry).await
    }

    /// Like [`Self::bind`], with these permissions.
    pub(crate) async fn bind_with(
        permissions: Permissions,
        config: Config,
        kafka: Settings,
        epochs: Epochs,
        lifecycle: &Lifecycle,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        config.check()?;
        let registry = registry.sub_registry_with_prefix("tailcast_ingest");
        let metrics = Metrics::register(registry);
        let listener = listener::bind(config.listen)
            .map_err(|source| BindError::Listen { address: config.listen, source })?;
        let (producer, producer_guard) =
            Producer::start(lifecycle, kafka.producer()?, config.in_flight_max())?;
        let condition = readiness.condition("ingest.kafka", "waiting for Kafka");
        let topics = Topics::start(
            lifecycle,
            Phase::Draining,
            kafka.directory()?,
            epochs,
            config.topics.clone(),
            condition,
            registry,
        )?;

        let publisher = Publisher::new(permissions, topics, producer.clone(), Arc::clone(&metrics));
        let budget = InFlightBudget::new(config.in_flight_max(), metrics.in_flight.clone());
        let in_flight = metrics.in_flight.clone();
        lifecycle.count_work("ingest.message", move || in_flight.messages());
        let overdue = CancellationToken::new();
        let service = Ingestion {
            calls: Calls { publisher, budget, limits: config.limits(), deadline: config.deadline },
            stream_credits: usize::try_from(config.stream_credits).unwrap_or(usize::MAX),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            metrics: Arc::clone(&metrics),
            lifecycle: lifecycle.clone(),
            overdue: overdue.clone(),
        };
        let (reporter, health) = tonic_health::server::health_reporter();
        let router = http2(&config)
            .add_service(gated(&config, service, &overdue, &metrics))
            .add_service(health)
            .add_optional_service(reflection(config.reflection).map_err(BindError::Reflection)?);
        let health = Health { reporter, readiness: readiness.clone(), lifecycle: lifecycle.clone() };
        health.begin().await;
        Ok(Self {
            listener,
            router,
            health,
            producer,
            producer_guard,
            metrics,
            overdue,
            connection_limits: ConnectionLimits {
                connections_max: config.connections_max,
                preface_deadline: config.preface_deadline,
            },
            drain_within: config.drain_within,
        })
    }

    /// Returns the bound address, with the actual port if port 0 was configured.
    ///
    /// # Errors
    ///
    /// When the operating system does not return it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process drains.
    pub fn serve(self, lifecycle: &Lifecycle) {
        lifecycle.supervise("ingest.health", self.health.run());
        let incoming = accept(self.listener, self.connection_limits, self.metrics);
        let draining = lifecycle.clone();
        let serving =
            self.router.serve_with_incoming_shutdown(incoming, async move { draining.draining().await });
        let drain = Drain {
            lifecycle: lifecycle.clone(),
            producer: self.producer,
            _producer_guard: self.producer_guard,
            overdue: self.overdue,
            within: self.drain_within,
        };
        lifecycle.supervise("ingest.server", drain.run(async { Ok(serving.await?) }));
    }
}

/// The HTTP/2 server as configured.
fn http2(config: &Config) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(config.keepalive_interval))
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
        .max_concurrent_streams(config.connection_calls_max)
}

/// The service behind its gate.
fn gated(
    config: &Config,
    service: Ingestion,
    overdue: &CancellationToken,
    metrics: &Arc<Metrics>,
) -> Gate<IngestServiceServer<Ingestion>> {
    let service = IngestServiceServer::new(service).max_decoding_message_size(config.request_bytes_max);
    let bounds = ArrivalLimits {
        arriving_max: config.arriving_max,
        arrival_deadline: config.arrival_deadline,
        overdue: overdue.clone(),
    };
    Gate::new(service, bounds, Arc::clone(metrics))
}

/// Reflection of ingest and of the health service, if enabled.
fn reflection(
    enabled: bool,
) -> Result<
    Option<
        tonic_reflection::server::v1::ServerReflectionServer<
            impl tonic_reflection::server::v1::ServerReflection,
        >,
    >,
    tonic_reflection::server::Error,
> {
    if !enabled {
        return Ok(None);
    }
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tailcast_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map(Some)
}

#[cfg(test)]
mod tests;
