//! Assembles the push service: `bind` can fail, `serve` cannot.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use prometheus_client::registry::Registry;
use rdkafka::{consumer::BaseConsumer, error::KafkaError};
use tailcast_services::{
    kafka::{Context, PropertyError, Settings},
    lifecycle::{Lifecycle, Phase},
    listener,
    permission::Permissions,
    readiness::Readiness,
    topics::{self, Epochs, Topics},
};
use tokio::net::TcpListener;

use crate::{
    config::{Config, ConfigError},
    edge::{HttpFallback, Server},
    kafka::{
        catch_up::{self, CatchUp},
        feed::{Feed, FeedSignals},
        offsets::KafkaOffsets,
        tail::Tail,
    },
    log::last_values::LastValues,
    metrics::{CatchUpMetrics, FeedMetrics, SessionMetrics},
    node::{
        hub::{self, Hub},
        last_values_loader, upkeep,
    },
    partition::WindowBudget,
    session::{Clock, SessionPolicy, Sessions, Sources, Starter, WaitingBudget, admission::Admission},
    wake::fan_out::FanOut,
};

/// A push service that is bound to its address but does not accept connections yet.
pub struct Push {
    listener: TcpListener,
    local_addr: SocketAddr,
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    fallback: Option<Arc<dyn HttpFallback>>,
}

/// Why the push service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, or does not belong to this host.
    #[error("push.listen = {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A Kafka property cannot be used.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// librdkafka rejected the configuration.
    #[error("cannot create a Kafka client: {0}")]
    Kafka(#[from] KafkaError),
    /// The topic metadata client could not be started.
    #[error(transparent)]
    Topics(#[from] topics::StartError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl Push {
    /// Binds the listener and starts the Kafka clients. Does not wait for Kafka: the `push.kafka`
    /// readiness condition reports whether it answers.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    #[expect(clippy::unused_async, reason = "a socket needs tokio's runtime, and an async function has one")]
    pub async fn bind(
        config: Config,
        kafka: Settings,
        epochs: Epochs,
        lifecycle: &Lifecycle,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        config.check()?;
        let listen = config.listen;
        let listener = listener::bind(listen).map_err(|source| BindError::Listen { listen, source })?;
        let local_addr = listener.local_addr()?;

        let metrics = Arc::new(SessionMetrics::register(registry));
        let condition = readiness.condition("push.kafka", "Kafka has not answered yet");
        let topic_registry = registry.sub_registry_with_prefix("tailcast_push");
        let topics = Topics::start(
            lifecycle,
            Phase::Closing,
            kafka.directory()?,
            epochs,
            config.topics.clone(),
            condition,
            topic_registry,
        )?;
        let last_values = LastValues::new(config.last_values_topics(), config.last_values.bytes_max);
        let catch_up_metrics = CatchUpMetrics::register(registry);
        let catch_up =
            CatchUp::start(&config.catch_up, &kafka.reader()?, catch_up_metrics, &topics, lifecycle)?;
        let time_scan = (!epochs.have_time_index()).then(|| catch_up.clone());
        let hub = Self::start_hub(&config, &kafka, &topics, (&last_values, time_scan), lifecycle, registry)?;
        last_values_loader::start(&last_values, &hub, &topics, &catch_up, lifecycle, readiness, registry);

        let starter = Starter { hub, topics };
        let lifecycle = lifecycle.clone();
        let waiting = WaitingBudget::new(metrics.waiting.clone(), config.sessions.waiting_bytes_max);
        let admission = Admission::new(config.memory_bytes_max);
        metrics.memory_max.set(i64::try_from(admission.bytes_max()).unwrap_or(i64::MAX));
        let sessions = Arc::new(Sessions {
            policy: Arc::new(SessionPolicy::new(&config)),
            sources: Sources::new(starter, catch_up, Permissions::unrestricted()),
            metrics,
            waiting,
            admission,
            lifecycle,
            clock: Clock::new(Instant::now()),
        });
        Ok(Self { listener, local_addr, config: Arc::new(config), sessions, fallback: None })
    }

    /// Passes HTTP requests that do not open a WebSocket to `fallback`.
    #[must_use]
    pub fn with_fallback(mut self, fallback: Arc<dyn HttpFallback>) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// Returns the address that clients connect to, with the port chosen by the system if port 0
    /// was configured.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts clients until the process drains. Sessions are then asked to leave.
    pub fn serve(self) {
        let lifecycle = self.sessions.lifecycle.clone();
        lifecycle.spawn("memory", self.sessions.admission.clone().watch(lifecycle.clone()));
        let server = Server::new(self.config, self.sessions, self.fallback);
        lifecycle.supervise("push-listener", server.run(self.listener));
    }

    /// Returns the configuration and the state that opens sessions, for sessions that no listener
    /// accepts.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn into_parts(self) -> (Arc<Config>, Arc<Sessions>) {
        (self.config, self.sessions)
    }

    /// Starts reading the tail of Kafka. Its tasks and threads end when the process closes.
    fn start_hub(
        config: &Config,
        kafka: &Settings,
        topics: &Topics,
        (last_values, time_scan): (&Arc<LastValues>, Option<CatchUp>),
        lifecycle: &Lifecycle,
        registry: &mut Registry,
    ) -> Result<Arc<Hub>, BindError> {
        let budget = WindowBudget::new(config.windows.bytes_max);
        let tail = Tail::new(&kafka.tail()?)?;
        let questions: BaseConsumer<Context> =
            kafka.directory()?.create_with_context(Context::on_demand("offsets"))?;
        let offsets = KafkaOffsets::new(questions, lifecycle.clone());
        let fan_out = FanOut::new(&config.fan_out, registry);
        fan_out.start(lifecycle)?;
        let hub = Hub::new(
            Arc::clone(&tail),
            offsets,
            time_scan,
            Arc::clone(last_values),
            Arc::clone(&budget),
            fan_out,
        );
        hub::register(registry, &hub);

        let signals = FeedSignals::default();
        let feed = Feed::new(tail, budget, signals.clone(), FeedMetrics::register(registry));
        lifecycle.supervise_thread("feed", {
            let lifecycle = lifecycle.clone();
            move || feed.run(|| lifecycle.is_closing())
        })?;
        lifecycle.spawn("sweep", upkeep::sweep(Arc::clone(&hub), config.windows.linger, lifecycle.clone()));
        let recovering =
            upkeep::recover(Arc::clone(&hub), topics.clone(), signals.rejected, lifecycle.clone());
        lifecycle.spawn("recover", recovering);
        let confirming = upkeep::confirm(Arc::clone(&hub), topics.clone(), signals.held, lifecycle.clone());
        lifecycle.spawn("confirm", confirming);
        let following = upkeep::follow(Arc::clone(&hub), topics.clone(), lifecycle.clone());
        lifecycle.spawn("topic-changes", following);
        Ok(hub)
    }
}

impl From<catch_up::CatchUpStartError> for BindError {
    fn from(error: catch_up::CatchUpStartError) -> Self {
        match error {
            catch_up::CatchUpStartError::Consumer(error) => Self::Kafka(error),
            catch_up::CatchUpStartError::Thread(error) => Self::Thread(error),
        }
    }
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}
