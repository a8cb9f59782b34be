//! What becomes of calls when the node drains.

use std::time::{Duration, Instant};

use tailcast_ingest::Config;
use tailcast_proto::ingest::v1::{PublishRequest, PublishStreamRequest};
use tailcast_services::lifecycle::Ending;
use tonic::Code;

use crate::node::{Node, acknowledged, check, config, quotes};

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
    // The messages never left the node, and the node knows.
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
    request.set_timeout(Duration::from_millis(300));
    let status = publisher.publish(request).await.expect_err("Kafka is gone");
    check(&status, Code::DeadlineExceeded, "DEADLINE", "unknown");
    let ending = node.finish().await;
    assert!(ending.is_clean(), "{ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_told_to_go_on_elsewhere_and_the_node_ends_at_once() {
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
