//! A backend that publishes through an ingest node.

use std::net::SocketAddr;

use bytes::Bytes;
use tailcast_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use tailcast_proto::ingest::v1::{
    Acknowledged, Message, Outcome, PublishRequest, PublishStreamRequest, outcome,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::deadline::within;
use crate::topic::Topic;

/// Maximum number of messages in a request.
pub const BATCH_MESSAGES_MAX: usize = 500;

/// A gRPC client of one ingest node, cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    channel: Channel,
}

impl Publisher {
    /// Returns a client that connects on first use.
    pub fn to(node: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{node}")).expect("an address makes a URI");
        Self { channel: endpoint.connect_lazy() }
    }

    /// Returns the generated client, for calls that are not a plain batch.
    pub fn client(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel())
    }

    /// Returns the connection, for calls that the generated client cannot make.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Publishes values under one key, and returns their positions in Kafka.
    ///
    /// # Panics
    ///
    /// When one is not acknowledged.
    pub async fn publish<V: ToString>(
        &self,
        topic: &Topic,
        key: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Vec<Acknowledged> {
        self.publish_all(values.into_iter().map(|value| message(topic, key, value)).collect()).await
    }

    /// Publishes messages in batches, and returns their positions in Kafka.
    ///
    /// # Panics
    ///
    /// When one is not acknowledged.
    pub async fn publish_all(&self, messages: Vec<Message>) -> Vec<Acknowledged> {
        let mut acknowledged = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH_MESSAGES_MAX) {
            let outcomes = self.try_publish(batch.to_vec()).await.expect("the batch is accepted");
            acknowledged.extend(outcomes.into_iter().map(|outcome| match outcome {
                outcome::Result::Acknowledged(acknowledged) => acknowledged,
                other => panic!("expected an acknowledgement, got {other:?}"),
            }));
        }
        acknowledged
    }

    /// Publishes one batch and returns the outcome of each message.
    ///
    /// # Errors
    ///
    /// The error of the node.
    pub async fn try_publish(&self, messages: Vec<Message>) -> Result<Vec<outcome::Result>, Status> {
        let sent = messages.len();
        let response = self.client().publish(PublishRequest { messages }).await?.into_inner();
        assert_eq!(response.outcomes.len(), sent, "an outcome per message");
        let result = |Outcome { result }| result.expect("an outcome has a result");
        Ok(response.outcomes.into_iter().map(result).collect())
    }

    /// Publishes messages over one stream, in batches, and returns the sequence numbers in the
    /// order in which they were acknowledged.
    ///
    /// # Panics
    ///
    /// When one is not acknowledged, or the stream fails.
    pub async fn publish_stream(&self, first_sequence: u64, messages: &[Message]) -> Vec<u64> {
        let mut sequence = first_sequence;
        let mut requests = Vec::new();
        for batch in messages.chunks(100) {
            let messages = batch.to_vec();
            requests.push(PublishStreamRequest { first_sequence: sequence, messages, want_positions: false });
            sequence += batch.len() as u64;
        }
        let stream = self.client().publish_stream(tokio_stream::iter(requests)).await;
        let mut stream = stream.expect("the stream opens").into_inner();
        let mut acknowledged = Vec::with_capacity(messages.len());
        let answers = async {
            while let Some(answer) = stream.message().await.expect("the stream ends well") {
                assert_eq!(answer.failures, []);
                acknowledged
                    .extend(answer.acks.iter().flat_map(|range| range.first_sequence..=range.last_sequence));
            }
        };
        within("the stream ends after its last acknowledgement", answers).await;
        acknowledged
    }
}

/// Returns a message.
#[expect(clippy::needless_pass_by_value, reason = "a value reads better than a reference to one")]
pub fn message(topic: &Topic, key: &str, value: impl ToString) -> Message {
    Message {
        topic: topic.name().to_string(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from(value.to_string())),
        ..Message::default()
    }
}
