//! A caller that does not read its responses.
//!
//! The HTTP/2 flow-control window of the caller is one byte, so the first response is stuck and all
//! others wait behind it.

use std::time::Duration;

use tailcast_ingest::Config;
use tailcast_proto::ingest::v1::{
    PublishRequest, PublishStreamRequest, PublishStreamResponse, ingest_service_client::IngestServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, transport::Endpoint};

use crate::node::{Node, PATIENCE, check, config, quotes};

/// A stream with answers that are stuck.
struct Unread {
    answers: Streaming<PublishStreamResponse>,
    _requests: mpsc::Sender<PublishStreamRequest>,
}

impl Unread {
    /// Publishes until there are more answers than fit on the way, which Kafka has all
    /// acknowledged.
    async fn open(node: &Node, deadline: Duration) -> Self {
        let (requests, outgoing) = mpsc::channel(1);
        let mut call = Request::new(ReceiverStream::new(outgoing));
        call.set_timeout(deadline);
        let answers = narrow(node).await.publish_stream(call).await.expect("there is room").into_inner();
        for sequence in 0..8 {
            let request =
                PublishStreamRequest { first_sequence: sequence, messages: quotes(1), want_positions: true };
            requests.send(request).await.expect("the stream is open");
            let acknowledged = "tailcast_ingest_messages_total{topic=\"quotes\",outcome=\"acknowledged\"}";
            node.until_metric(acknowledged, &(sequence + 1).to_string()).await;
        }
        Self { answers, _requests: requests }
    }

    /// Reads at last: how far the acknowledgements go, and how the stream ended.
    async fn read(mut self) -> (Option<u64>, Result<(), Status>) {
        let mut last = None;
        loop {
            let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await;
            match answer.expect("the stream ends") {
                Ok(Some(answer)) => last = answer.acks.last().map(|range| range.last_sequence).or(last),
                Ok(None) => return (last, Ok(())),
                Err(status) => return (last, Err(status)),
            }
        }
    }
}

/// A publisher with a flow-control window of one byte.
async fn narrow(node: &Node) -> IngestServiceClient<tonic::transport::Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).expect("an address");
    let channel = endpoint.initial_stream_window_size(1).connect().await.expect("the node listens");
    IngestServiceClient::new(channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_does_not_hold_up_the_end() {
    // The stream's task went on waiting for room for its answer when draining had taken too long,
    // so the process ended with 70. A test without publishing did not see it: few answers fit in
    // the usual window.
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    let _unread = Unread::open(&node, PATIENCE).await;
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
    assert_eq!(node.metric("tailcast_ingest_streams").as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_gives_its_place_back_at_its_deadline_and_its_end_is_still_told() {
    // The stream kept its place until the caller read or disconnected. And if there is no room for
    // the final status, the stream must not end with OK: the caller would miss the unreported
    // messages.
    let node = Node::with(Config { streams_max: 1, ..config() }, &[]).await;
    let unread = Unread::open(&node, Duration::from_secs(3)).await;
    node.until_metric("tailcast_ingest_streams", "0").await;
    let (last, end) = unread.read().await;
    assert!(last < Some(7), "everything was reported, so nothing was stuck");
    check(&end.expect_err("the deadline passed"), Code::DeadlineExceeded, "DEADLINE", "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_call_that_nobody_reads_does_not_hold_up_the_end() {
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    let mut publisher = narrow(&node).await;
    // The call is begun and its answer waits: the future is neither polled on nor dropped.
    let mut call = Box::pin(publisher.publish(PublishRequest { messages: quotes(500) }));
    let acknowledged = "tailcast_ingest_messages_total{topic=\"quotes\",outcome=\"acknowledged\"}";
    tokio::select! {
        biased;
        () = node.until_metric(acknowledged, "500") => {}
        answer = &mut call => panic!("{answer:?}"),
    }
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
}
