//! A node that denies one channel: calls and streams check the same permissions.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tailcast_proto::{
    TopicName,
    ingest::v1::{
        Message, Outcome, PublishRequest, PublishStreamRequest, Reason,
        ingest_service_client::IngestServiceClient, outcome,
    },
};
use tailcast_services::{in_process::InProcess, permission::Action, principal::Principal};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::*;
use crate::config::tests::config;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node on which nobody may publish to the channel `quotes/private` and to the topic `absent`,
/// until that is granted.
struct Node {
    client: IngestServiceClient<Channel>,
    granted: Arc<AtomicBool>,
    lifecycle: Lifecycle,
    _kafka: InProcess,
}

impl Node {
    async fn start() -> Self {
        let kafka = InProcess::start(1).expect("the in-process broker starts");
        let topic = TopicName::parse("quotes").expect("a topic name");
        kafka.create_topic(&topic, 1).expect("the topic is new");
        let granted = Arc::new(AtomicBool::new(false));
        let is_granted = Arc::clone(&granted);
        let permissions = Permissions::new(move |principal: &Principal, action: Action<'_>| {
            assert_eq!(*principal, Principal::Anonymous);
            let Action::Publish { topic, key } = action else { panic!("not a publish: {action:?}") };
            let key = key.map(AsRef::as_ref);
            let denied = topic.as_str() == "absent" || key == Some(b"private".as_slice());
            !denied || is_granted.load(Ordering::Relaxed)
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

    async fn publish(&mut self, channels: &[&str]) -> Result<Vec<String>, Status> {
        let messages = channels.iter().copied().map(message).collect();
        let response = self.client.publish(PublishRequest { messages }).await?;
        Ok(response.into_inner().outcomes.iter().map(name).collect())
    }

    /// Publishes on a stream of its own, and returns the sequence numbers that were acknowledged
    /// and the failures.
    async fn publish_on_stream(&mut self, channels: &[&str]) -> (Vec<u64>, Vec<(u64, String)>) {
        let messages = channels.iter().copied().map(message).collect();
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

fn message(channel: &str) -> Message {
    let (topic, key) = channel.split_once('/').expect("a channel is topic/key");
    Message {
        topic: topic.to_owned(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from_static(b"1.25")),
        ..Message::default()
    }
}

/// An outcome in short.
fn name(outcome: &Outcome) -> String {
    match &outcome.result {
        Some(outcome::Result::Acknowledged(at)) => format!("{} at {}", at.topic, at.offset),
        Some(outcome::Result::Refused(refused)) => {
            assert_eq!(refused.reason(), Reason::PermissionDenied, "{refused:?}");
            refused.detail.clone()
        }
        other => panic!("{other:?}"),
    }
}

const DENIED: &str = "permission denied: anonymous may not publish this record to topic quotes";

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_message_of_a_call_fails_alone() {
    let mut node = Node::start().await;
    let outcomes = node.publish(&["quotes/a", "quotes/private", "quotes/b"]).await;
    let outcomes = outcomes.expect("two are acknowledged");
    assert_eq!(outcomes, ["quotes at 0", DENIED, "quotes at 1"]);

    node.granted.store(true, Ordering::Relaxed);
    assert_eq!(node.publish(&["quotes/private"]).await.expect("it is permitted"), ["quotes at 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_every_message_is_denied_has_the_status_permission_denied() {
    let mut node = Node::start().await;
    let status = node.publish(&["quotes/private"]).await.expect_err("it is denied");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, DENIED));
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has an ErrorInfo");
    assert_eq!(info.reason, "PERMISSION_DENIED");
    assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_message_of_a_stream_fails_alone() {
    let mut node = Node::start().await;
    let (acknowledged, failed) =
        node.publish_on_stream(&["quotes/a", "quotes/private", "quotes/private", "quotes/b"]).await;
    assert_eq!(acknowledged, [1, 4]);
    assert_eq!(failed, [(2, DENIED.to_owned()), (3, DENIED.to_owned())]);

    // The denied messages are not in the topic.
    assert_eq!(node.publish(&["quotes/c"]).await.expect("it is permitted"), ["quotes at 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_caller_cannot_find_out_whether_a_topic_exists() {
    let mut node = Node::start().await;
    let status = node.publish(&["absent/a"]).await.expect_err("it is denied");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    node.granted.store(true, Ordering::Relaxed);
    let status = node.publish(&["absent/a"]).await.expect_err("there is no such topic");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}
