//! A node whose rule denies: both ways of publishing ask it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tailcast_proto::ingest::v1::{
    Message, Outcome, PublishRequest, PublishStreamRequest, Reason,
    ingest_service_client::IngestServiceClient, outcome,
};
use tailcast_services::{in_process::InProcess, lifecycle::Lifecycle, readiness::Readiness};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::*;
use crate::{config::tests::config, server::Ingest};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node on which anonymous callers may not publish to `private`, until they are granted it.
struct Node {
    client: IngestServiceClient<Channel>,
    granted: Arc<AtomicBool>,
    lifecycle: Lifecycle,
    _kafka: InProcess,
}

impl Node {
    async fn start() -> Self {
        let kafka = InProcess::start(1).expect("the in-process broker starts");
        for name in ["quotes", "private"] {
            let topic = TopicName::parse(name).expect("a topic name");
            kafka.create_topic(&topic, 1).expect("the topic is new");
        }
        let granted = Arc::new(AtomicBool::new(false));
        let is_granted = Arc::clone(&granted);
        let permissions = Permissions::of(move |principal, topic| match principal {
            Principal::Anonymous => {
                !topic.as_str().starts_with("private") || is_granted.load(Ordering::Relaxed)
            }
            other => panic!("the gate makes anonymous principals, not {other}"),
        });
        let (lifecycle, readiness, mut registry) = (Lifecycle::new(), Readiness::new(), Registry::default());
        let (settings, epochs) = (kafka.settings(), kafka.epochs());
        let node =
            Ingest::bind_with(permissions, config(), settings, epochs, &lifecycle, &readiness, &mut registry);
        let node = node.await.expect("the node binds");
        let address = node.local_addr().expect("it is bound");
        node.serve(&lifecycle);
        let mut states = readiness.watch();
        let ready = tokio::time::timeout(PATIENCE, states.wait_for(|state| state.is_ready()));
        assert!(ready.await.is_ok(), "{}", readiness.state());
        let client = IngestServiceClient::connect(format!("http://{address}")).await;
        Self { client: client.expect("the node listens"), granted, lifecycle, _kafka: kafka }
    }

    async fn publish(&mut self, topics: &[&str]) -> Result<Vec<String>, Status> {
        let messages = topics.iter().copied().map(message).collect();
        let response = self.client.publish(PublishRequest { messages }).await?;
        Ok(response.into_inner().outcomes.iter().map(name).collect())
    }

    /// Publishes on a stream of its own, and returns the sequence numbers that were acknowledged and the failures.
    async fn publish_on_stream(&mut self, topics: &[&str]) -> (Vec<u64>, Vec<(u64, String)>) {
        let messages = topics.iter().copied().map(message).collect();
        let request = PublishStreamRequest { first_sequence: 1, messages, want_positions: false };
        let stream = self.client.publish_stream(tokio_stream::iter([request])).await;
        let mut responses = stream.expect("the stream opens").into_inner();
        let (mut acknowledged, mut failed) = (Vec::new(), Vec::new());
        while let Some(response) = responses.message().await.expect("the stream ends without an error") {
            acknowledged
                .extend(response.acks.iter().flat_map(|acks| acks.first_sequence..=acks.last_sequence));
            let outcome = |outcome: &Option<Outcome>| outcome.as_ref().map(name).unwrap_or_default();
            failed.extend(
                response.failures.iter().map(|failure| (failure.sequence, outcome(&failure.outcome))),
            );
        }
        (acknowledged, failed)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.lifecycle.drain();
    }
}

fn message(topic: &str) -> Message {
    let value = Some(Bytes::from_static(b"1.25"));
    Message { topic: topic.to_owned(), value, ..Message::default() }
}

/// An outcome in short.
fn name(outcome: &Outcome) -> String {
    match &outcome.result {
        Some(outcome::Result::Acknowledged(at)) => format!("{} at {}", at.topic, at.offset),
        Some(outcome::Result::Refused(refused)) => {
            assert_eq!(refused.reason(), Reason::Forbidden, "{refused:?}");
            refused.detail.clone()
        }
        other => panic!("{other:?}"),
    }
}

const DENIED: &str = "anonymous may not publish to topic private";

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_without_permission_is_denied_and_publishes_nothing() {
    let mut node = Node::start().await;
    let status = node.publish(&["private"]).await.expect_err("it is denied");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, DENIED));
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has an ErrorInfo");
    assert_eq!(info.reason, "FORBIDDEN");
    assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("refused"));

    let outcomes = node.publish(&["quotes", "private"]).await.expect("one is acknowledged");
    assert_eq!(outcomes, ["quotes at 0", DENIED]);

    node.granted.store(true, Ordering::Relaxed);
    assert_eq!(node.publish(&["private"]).await.expect("it is permitted"), ["private at 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_permission_fails_alone_on_a_stream() {
    let mut node = Node::start().await;
    let (acknowledged, failed) = node.publish_on_stream(&["quotes", "private", "quotes"]).await;
    assert_eq!((acknowledged, failed), (vec![1, 3], vec![(2, DENIED.to_owned())]));

    node.granted.store(true, Ordering::Relaxed);
    assert_eq!(node.publish(&["private"]).await.expect("it is permitted"), ["private at 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_caller_cannot_find_out_whether_a_topic_exists() {
    let mut node = Node::start().await;
    let status = node.publish(&["private-and-unknown"]).await.expect_err("it is denied");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}
