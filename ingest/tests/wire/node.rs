//! One node to publish to, and helpers for its answers.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tailcast_ingest::{BindError, Config, Ingest};
use tailcast_proto::{
    TopicName,
    ingest::v1::{
        Acknowledged, Message, Outcome, PublishRequest, ingest_service_client::IngestServiceClient, outcome,
    },
};
use tailcast_services::{
    in_process::InProcess,
    kafka::Settings,
    lifecycle::{Ending, Lifecycle, Tasks},
    readiness::Readiness,
    topics::{Epochs, TopicsConfig},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// The timeout of every wait in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node with a broker of its own, which ends with it.
pub(crate) struct Node<K = InProcess> {
    pub(crate) kafka: K,
    pub(crate) readiness: Readiness,
    pub(crate) address: SocketAddr,
    lifecycle: Lifecycle,
    registry: Registry,
}

/// The configuration of the tests: small bounds, a free port.
pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        insecure: false,
        reflection: true,
        in_flight_bytes_max: 16 << 20,
        in_flight_messages_max: 2_000,
        message_bytes_max: 100_000,
        message_headers_max: 8,
        request_bytes_max: 1 << 20,
        deadline: Duration::from_secs(20),
        stream_credits: 1_000,
        streams_max: 2,
        arriving_max: 64,
        arrival_deadline: Duration::from_secs(10),
        connections_max: 16,
        preface_deadline: Duration::from_secs(5),
        connection_calls_max: 64,
        keepalive_interval: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(10),
        drain_within: Duration::from_secs(10),
        topics: TopicsConfig {
            refresh: Duration::from_secs(10),
            unknown_for: Duration::from_millis(50),
            answer_within: Duration::from_secs(2),
        },
    }
}

impl Node {
    /// A node that is ready, and has the topic `quotes` with three partitions.
    pub(crate) async fn start() -> Self {
        Self::with(config(), &[]).await
    }

    /// A node that is ready, configured otherwise.
    pub(crate) async fn with(config: Config, properties: &[(&str, &str)]) -> Self {
        let kafka = InProcess::start(1).expect("the in-process broker starts");
        kafka.create_topic(&topic("quotes"), 3).expect("the topic is new");
        let node = Self::on(kafka, config, properties).await.expect("the node binds");
        node.until_ready().await;
        node
    }

    /// A node on this broker, ready or not.
    pub(crate) async fn on(
        kafka: InProcess,
        config: Config,
        properties: &[(&str, &str)],
    ) -> Result<Self, BindError> {
        let (settings, epochs) = (kafka.settings(), kafka.epochs());
        Self::at(kafka, settings, epochs, config, properties).await
    }
}

impl<K> Node<K> {
    /// A node on the broker of these settings.
    pub(crate) async fn at(
        kafka: K,
        mut settings: Settings,
        epochs: Epochs,
        config: Config,
        properties: &[(&str, &str)],
    ) -> Result<Self, BindError> {
        let (lifecycle, readiness, mut registry) = (Lifecycle::new(), Readiness::new(), Registry::default());
        for (name, value) in properties {
            settings.properties.insert((*name).to_owned(), (*value).to_owned());
        }
        let ingest = Ingest::bind(config, settings, epochs, &lifecycle, &readiness, &mut registry).await?;
        let address = ingest.local_addr().expect("it is bound");
        ingest.serve(&lifecycle);
        Ok(Self { kafka, readiness, address, lifecycle, registry })
    }

    /// Waits until the node is ready.
    pub(crate) async fn until_ready(&self) {
        let mut states = self.readiness.watch();
        let ready = tokio::time::timeout(PATIENCE, states.wait_for(|state| state.is_ready()));
        assert!(ready.await.is_ok(), "{}", self.readiness.state());
    }

    /// A connection to the node.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("the node listens")
    }

    /// A publisher with a connection of its own.
    pub(crate) async fn publisher(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel().await)
    }

    /// Publishes a batch on a connection of its own.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Outcome>, Status> {
        let response = self.publisher().await.publish(PublishRequest { messages }).await?;
        Ok(response.into_inner().outcomes)
    }

    /// Begins to drain, without waiting.
    pub(crate) fn drain(&self) {
        self.lifecycle.drain();
    }

    /// The running tasks and the work in progress, as they are logged.
    pub(crate) fn running(&self) -> String {
        Tasks(&self.lifecycle.running()).to_string()
    }

    /// Drains and waits for the end.
    pub(crate) async fn finish(&self) -> Ending {
        self.lifecycle.finish(PATIENCE).await
    }

    /// The value of a metric with these labels, as it is written: `name{label="value"}`.
    pub(crate) fn metric(&self, sample: &str) -> Option<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics encode");
        let value =
            |line: &str| line.strip_prefix(sample).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
        text.lines().find_map(value)
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_metric(&self, sample: &str, expected: &str) {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while self.metric(sample).as_deref() != Some(expected) {
            let found = self.metric(sample);
            assert!(looks.tick().await < give_up, "{sample} is {found:?}, expected {expected}");
        }
    }
}

/// A topic's name.
pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a topic name")
}

/// A message for `quotes`.
pub(crate) fn quote(key: &str, value: &str) -> Message {
    Message {
        topic: "quotes".to_owned(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..Message::default()
    }
}

/// Messages for `quotes`, all with one key.
pub(crate) fn quotes(count: usize) -> Vec<Message> {
    (0..count).map(|at| quote("AAPL", &at.to_string())).collect()
}

/// The acknowledgement in an outcome that is expected to have one.
#[track_caller]
pub(crate) fn acknowledged(outcome: &Outcome) -> &Acknowledged {
    match &outcome.result {
        Some(outcome::Result::Acknowledged(acknowledged)) => acknowledged,
        other => panic!("not acknowledged: {other:?}"),
    }
}

/// The machine-readable part of an error: code, reason and outcome.
#[track_caller]
pub(crate) fn details(status: &Status) -> (tonic::Code, String, String) {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { panic!("no ErrorInfo in {status:?}") };
    assert_eq!(info.domain, "tailcast");
    let outcome = info.metadata.get("outcome").cloned().unwrap_or_default();
    (status.code(), info.reason.clone(), outcome)
}

/// Asserts the machine-readable part of an error.
#[track_caller]
pub(crate) fn check(status: &Status, code: tonic::Code, reason: &str, outcome: &str) {
    assert_eq!(details(status), (code, reason.to_owned(), outcome.to_owned()), "{status:?}");
}

/// The invalid fields in an error.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let named = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
    named.into_iter().map(|violation| violation.field).collect()
}
