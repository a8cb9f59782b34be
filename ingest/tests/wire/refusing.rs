//! Rejections: before Kafka, by Kafka, and without Kafka.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use rdkafka::mocking::MockCluster;
use tailcast_ingest::Config;
use tailcast_proto::{
    Epoch,
    ingest::v1::{Message, PublishRequest, PublishResponse},
};
use tailcast_services::{
    in_process::{RDKafkaApiKey, RDKafkaRespErr},
    kafka::Settings,
    lifecycle::Ending,
    topics::Epochs,
};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::node::{Node, acknowledged, check, config, details, fields, quote, quotes};

/// Long enough for the mock broker, short enough to wait for; and a broker that is back is noticed
/// well within it.
const GIVES_UP: [(&str, &str); 2] = [("message.timeout.ms", "2000"), ("reconnect.backoff.max.ms", "100")];

fn with_timeout(messages: Vec<Message>, timeout: &str) -> Request<PublishRequest> {
    let mut request = Request::new(PublishRequest { messages });
    request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a metadata value"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_valid_publishes_nothing_and_names_every_field() {
    let node = Node::start().await;
    let wrong = Message { topic: "__internal".into(), key: Some(Bytes::new()), ..quote("", "2") };
    let status = node.publish(vec![quote("AAPL", "1"), wrong]).await.expect_err("it is not valid");
    check(&status, Code::InvalidArgument, "INVALID_ARGUMENT", "refused");
    assert_eq!(fields(&status), ["messages[1].topic", "messages[1].key"]);

    let large = Message { value: Some(vec![0; 100_000].into()), ..quote("AAPL", "") };
    let status = node.publish(vec![large]).await.expect_err("it is too large");
    assert_eq!(fields(&status), ["messages[0].value"]);
    let status = node.publish(vec![]).await.expect_err("it is empty");
    assert_eq!(fields(&status), ["messages"]);
    let status = node.publish(quotes(501)).await.expect_err("it has too many messages");
    assert_eq!(fields(&status), ["messages"]);
    assert_eq!(acknowledged(&node.publish(quotes(1)).await.expect("Kafka is there")[0]).offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_allowed_is_refused_with_the_limit() {
    let node = Node::start().await;
    let large = || Message { value: Some(vec![0; 90_000].into()), ..quote("AAPL", "") };
    let status = node.publish((0..20).map(|_| large()).collect()).await.expect_err("it is too large");
    check(&status, Code::InvalidArgument, "REQUEST_TOO_LARGE", "refused");
    assert!(status.message().contains("1048576"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_protobuf_is_an_invalid_argument() {
    /// A request whose first message is no message: field 1 holds text that is no protobuf.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Malformed {
        #[prost(string, tag = "1")]
        text: String,
    }
    let node = Node::start().await;
    let mut client = tonic::client::Grpc::new(node.channel().await);
    client.ready().await.expect("the node is there");
    let path = "/tailcast.ingest.v1.IngestService/Publish".parse().expect("a path");
    let request = Request::new(Malformed { text: "\u{7f}\u{7f}\u{7f}".into() });
    let answer = client.unary(request, path, ProstCodec::<Malformed, PublishResponse>::default()).await;
    check(&answer.expect_err("it is malformed"), Code::InvalidArgument, "MALFORMED_REQUEST", "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_is_refused_without_waiting_for_kafkas_timeout() {
    let node = Node::start().await;
    let begun = Instant::now();
    let nowhere = Message { topic: "nowhere".into(), ..quote("AAPL", "1") };
    let status = node.publish(vec![nowhere.clone(), nowhere]).await.expect_err("there is no such topic");
    check(&status, Code::NotFound, "UNKNOWN_TOPIC", "refused");
    assert_eq!(fields(&status), ["messages[0].topic", "messages[1].topic"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_refused() {
    let node = Node::start().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    node.kafka.request_errors(RDKafkaApiKey::Produce, vec![error]).expect("the broker lives");
    let status = node.publish(quotes(1)).await.expect_err("the broker refuses");
    check(&status, Code::PermissionDenied, "NOT_AUTHORIZED", "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_cannot_be_reached_is_unavailable_and_what_was_never_sent_is_refused() {
    let node = Node::with(config(), &GIVES_UP).await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let status = node.publish(quotes(3)).await.expect_err("Kafka is gone");
    check(&status, Code::Unavailable, "KAFKA_UNAVAILABLE", "refused");
    assert_eq!(fields(&status).len(), 3);
    assert!(status.get_error_details().retry_info().is_some());

    node.kafka.broker_up(None).expect("the broker lives");
    acknowledged(&node.publish(quotes(1)).await.expect("Kafka is back")[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_never_answered_is_unknown() {
    let cluster = MockCluster::new(1).expect("the mock cluster starts");
    cluster.create_topic("quotes", 1, 1).expect("the topic is new");
    let settings = Settings::at(&cluster.bootstrap_servers());
    let epochs = Epochs::InProcess(Epoch::from_bits(0, 1));
    let node = Node::at((), settings, epochs, config(), &GIVES_UP).await.expect("the node binds");
    node.until_ready().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    // From here on the broker answers after the producer has given up.
    cluster.broker_round_trip_time(1, Duration::from_secs(30)).expect("the broker lives");
    let status = node.publish(quotes(1)).await.expect_err("Kafka does not answer");
    check(&status, Code::Unavailable, "KAFKA_UNAVAILABLE", "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_failed_for_good_ends_the_process() {
    let node = Node::start().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    // A single request in flight cannot be out of order, so librdkafka concludes that it disagrees
    // with the broker.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    node.kafka.request_errors(RDKafkaApiKey::Produce, vec![error]).expect("the broker lives");
    let status = node.publish(quotes(1)).await.expect_err("the producer fails");
    check(&status, Code::Unavailable, "KAFKA_ERROR", "unknown");
    let ending = node.finish().await;
    assert!(matches!(ending, Ending::Failed { task: "ingest.producer", .. }), "{ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_answers_unknown_and_does_not_take_the_messages_back() {
    let node = Node::start().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let answer = node.publisher().await.publish(with_timeout(quotes(2), "1000m")).await;
    check(&answer.expect_err("Kafka is gone"), Code::DeadlineExceeded, "DEADLINE", "unknown");

    node.kafka.broker_up(None).expect("the broker lives");
    // The two messages stayed in flight; the next one follows them.
    assert_eq!(acknowledged(&node.publish(quotes(1)).await.expect("Kafka is back")[0]).offset, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bound_a_call_is_refused_at_once_and_callers_that_gave_up_still_count() {
    let config = Config { in_flight_messages_max: 2_000, ..config() };
    let node = Node::with(config, &[]).await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.broker_down(None).expect("the broker lives");
    let publisher = node.publisher().await;
    // Long enough to be enqueued on a busy machine, as in `draining`; so all at once.
    let calls = (0..4).map(|_| {
        let mut publisher = publisher.clone();
        async move { publisher.publish(with_timeout(quotes(500), "2000m")).await }
    });
    for answer in join_all(calls).await {
        assert_eq!(details(&answer.expect_err("Kafka is gone")).2, "unknown");
    }
    assert_eq!(node.metric("tailcast_ingest_in_flight_messages").as_deref(), Some("2000"));

    let begun = Instant::now();
    let status = node.publish(quotes(1)).await.expect_err("the bound is reached");
    check(&status, Code::ResourceExhausted, "IN_FLIGHT_BOUND", "refused");
    assert!(status.get_error_details().retry_info().is_some());
    // Not after the 20 s that a call without a deadline of its own may take.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    node.kafka.broker_up(None).expect("the broker lives");
    node.until_metric("tailcast_ingest_in_flight_messages", "0").await;
    assert_eq!(acknowledged(&node.publish(quotes(1)).await.expect("Kafka is back")[0]).offset, 2_001);
}
