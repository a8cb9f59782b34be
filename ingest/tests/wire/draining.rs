//! Calls while the node drains.

use std::time::{Duration, Instant};

use tailcast_ingest::Config;
use tailcast_proto::ingest::v1::{PublishRequest, PublishStreamRequest, PublishStreamResponse};
use tailcast_services::lifecycle::Ending;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Streaming};

use crate::node::{Node, PATIENCE, acknowledged, check, config, quotes};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_acknowledged_while_the_node_drains() {
    let node = Node::start().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let mut publisher = node.publisher().await;
    let call = publisher.publish(PublishRequest { messages: quotes(10) });
    let draining = async {
        node.until_metric("tailcast_ingest_in_flight_messages", "10").await;
        node.drain();
        let running = node.running();
        assert!(running.contains("10 × ingest.message"), "{running}");
        node.kafka.broker_up(None).expect("the broker lives");
    };
    let (answer, ()) = tokio::join!(call, draining);
    let outcomes = answer.expect("Kafka came back in time").into_inner().outcomes;
    assert_eq!(outcomes.iter().map(|outcome| acknowledged(outcome).offset).next_back(), Some(10));
    assert!(matches!(node.finish().await, Ending::Clean));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_kafka_does_not_answer_ends_when_draining_has_taken_too_long() {
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let mut publisher = node.publisher().await;
    let call = publisher.publish(PublishRequest { messages: quotes(10) });
    let draining = async {
        node.until_metric("tailcast_ingest_in_flight_messages", "10").await;
        node.drain();
    };
    let (answer, ()) = tokio::join!(call, draining);
    // The messages never left the node, so they are refused.
    check(&answer.expect_err("Kafka is gone"), Code::Unavailable, "KAFKA_UNAVAILABLE", "refused");
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_caller_gave_up_do_not_hold_up_the_end() {
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let mut publisher = node.publisher().await;
    let mut request = tonic::Request::new(PublishRequest { messages: quotes(10) });
    // Long enough to be enqueued on a busy machine: a call that was not is refused, and the test is
    // about the others.
    request.set_timeout(Duration::from_secs(2));
    let status = publisher.publish(request).await.expect_err("Kafka is gone");
    check(&status, Code::DeadlineExceeded, "DEADLINE", "unknown");
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_ends_when_draining_begins_and_the_node_ends_at_once() {
    let node = Node::start().await;
    let mut client = node.publisher().await;
    let idle = tokio_stream::pending::<PublishStreamRequest>();
    let mut responses = client.publish_stream(idle).await.expect("there is room").into_inner();
    responses.message().await.expect("the stream is open").expect("it begins with credits");
    let begun = Instant::now();
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    check(&responses.message().await.expect_err("the node drains"), Code::Unavailable, "DRAINING", "refused");
}

/// An HTTP/2 client that reads and never answers.
struct Stubborn(TcpStream);

impl Stubborn {
    async fn connect(node: &Node) -> Self {
        let mut socket = TcpStream::connect(node.address).await.expect("the node listens");
        // The preface, and a SETTINGS frame that sets nothing.
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it is open");
        socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("it is open");
        let mut client = Self(socket);
        assert_eq!(client.frame().await, Some(Self::SETTINGS));
        client
    }

    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    /// The kind of the next frame; `None` when the connection has ended.
    async fn frame(&mut self) -> Option<u8> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.ok()?;
        let [high, middle, low, kind, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(kind)
    }

    /// Whether GOAWAY comes before the end.
    async fn receives_goaway(&mut self) -> bool {
        while let Some(kind) = self.frame().await {
            if kind == Self::GOAWAY {
                return true;
            }
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_receives_goaway_and_one_that_does_not_go_holds_up_nothing() {
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    let mut stubborn = Stubborn::connect(&node).await;
    node.drain();
    assert!(tokio::time::timeout(PATIENCE, stubborn.receives_goaway()).await.expect("GOAWAY or the end"));
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_waits_for_the_bound_is_told_of_what_it_sent_when_draining_has_taken_too_long() {
    let node = Node::with(Config { drain_within: Duration::from_millis(300), ..config() }, &[]).await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let mut client = node.publisher().await;
    // Streams may have 1,500 of 2,000 in flight, and one 1,000: the second stream's last request
    // waits.
    let requests = |count: u64| {
        let request = |at| PublishStreamRequest {
            first_sequence: at * 500,
            messages: quotes(500),
            want_positions: false,
        };
        tokio_stream::iter((0..count).map(request).collect::<Vec<_>>())
    };
    let first = client.publish_stream(requests(2)).await.expect("there is room").into_inner();
    node.until_metric("tailcast_ingest_in_flight_messages", "1000").await;
    let second = client.publish_stream(requests(2)).await.expect("there is room").into_inner();
    node.until_metric("tailcast_ingest_in_flight_messages", "1500").await;
    let (first, second, ending) = tokio::join!(failures(first), failures(second), node.finish());
    assert!(ending.is_clean(), "{ending}");
    // Nothing reached Kafka, so all accepted messages are reported as failed; requests not read are
    // not reported.
    assert_eq!(first, 1_000);
    assert!(second == 500 || second == 1_000, "{second}");
}

/// The number of failures that a stream reported before it ended.
async fn failures(mut responses: Streaming<PublishStreamResponse>) -> usize {
    let mut failures = 0;
    while let Ok(Some(response)) = responses.message().await {
        assert!(response.acks.is_empty(), "{response:?}");
        failures += response.failures.len();
    }
    failures
}
