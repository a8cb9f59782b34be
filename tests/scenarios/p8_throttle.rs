//! P8: publishers that are faster than Kafka are throttled, and the node's memory for them is
//! bounded.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tailcast_proto::ingest::v1::{Message, PublishStreamRequest, PublishStreamResponse};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::{eventually, within};
use tailcast_tests::node::Node;
use tailcast_tests::publisher::{Publisher, message};
use tailcast_tests::topic::Topic;
use tonic::{Code, Streaming};

tailcast_tests::scenarios! {
    everywhere {
        publishers_faster_than_kafka_are_throttled_and_memory_is_bounded
    }
}

/// Limit of bytes in flight; three quarters are for streams.
const BOUND: u32 = 20_000_000;
/// Number of requests of each of two streams: together five times the limit of streams.
const REQUESTS: u64 = 40;
/// Messages of a request. It counts as 1,026,000 bytes: 10,000 of value, 4 of key and 256 more for
/// each message.
const BATCH: u64 = 100;

async fn publishers_faster_than_kafka_are_throttled_and_memory_is_bounded(broker: Broker) {
    let broker = broker.of_its_own();
    let plan = Cluster::on(&broker).push(0).set("ingest.in_flight_bytes_max", BOUND);
    let cluster = plan.set("ingest.deadline", "5s").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;
    let node = &cluster.ingest[0];
    // A connection for each: HTTP/2 throttles all calls of a connection together.
    let publishers: Vec<_> = (0..4).map(|_| Publisher::to(node.address())).collect();

    broker.stall();
    let streams = join_all((0..2).map(|at| outrun(&publishers[at], &quotes)));
    let stalled = async {
        eventually("streams reach their limit", async || in_flight(node), |bytes| *bytes >= 14_000_000.0)
            .await;
        // They are notified while Kafka does not answer.
        let throttles = async || node.metric("tailcast_ingest_throttles_total");
        eventually("they are throttled", throttles, |throttles| *throttles >= 1.0).await;
        // Unary calls have the last quarter, with room for four. The others are refused at once.
        let calls = join_all((0..8).map(|_| publishers[2].try_publish(batch(&quotes)))).await;
        let codes = calls.iter().filter_map(|call| call.as_ref().err()).map(tonic::Status::code);
        let (refused, late): (Vec<_>, Vec<_>) = codes.partition(|code| *code == Code::ResourceExhausted);
        assert_eq!((refused.len(), late), (4, vec![Code::DeadlineExceeded; 4]));
        // A new stream is throttled before it has sent anything.
        let mut late = open(&publishers[3], vec![]).await;
        let first = late.message().await.expect("it is open").expect("it begins with credits");
        assert!(first.throttle_ms > 0, "{first:?}");
        broker.resume();
    };
    let (told, most) = within(
        "all outcomes are returned once Kafka answers",
        watched(node, async { join(streams, stalled).await.0 }),
    )
    .await;

    assert!(
        told.iter().flatten().any(|answer| answer.throttle_ms > 0),
        "they were faster than Kafka and were not throttled"
    );
    for answers in told {
        let ranges = answers.iter().flat_map(|answer| &answer.acks);
        let numbers: Vec<_> = ranges.flat_map(|range| range.first_sequence..=range.last_sequence).collect();
        assert_eq!(numbers, (0..REQUESTS * BATCH).collect::<Vec<_>>(), "acknowledged once, in order");
    }
    assert!(most <= f64::from(BOUND), "{most} bytes were in flight");
    eventually("nothing is in flight", async || in_flight(node), |bytes| *bytes == 0.0).await;
}

/// Sends more than Kafka accepts, ignoring credits and throttling, and returns the answers.
async fn outrun(publisher: &Publisher, topic: &Topic) -> Vec<PublishStreamResponse> {
    let request = |at| PublishStreamRequest {
        first_sequence: at * BATCH,
        messages: batch(topic),
        want_positions: false,
    };
    let mut stream = open(publisher, (0..REQUESTS).map(request).collect()).await;
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await.expect("the stream ends well") {
        assert_eq!(answer.failures, []);
        answers.push(answer);
    }
    answers
}

async fn open(
    publisher: &Publisher,
    requests: Vec<PublishStreamRequest>,
) -> Streaming<PublishStreamResponse> {
    let stream = publisher.client().publish_stream(tokio_stream::iter(requests)).await;
    stream.expect("the stream opens").into_inner()
}

fn batch(topic: &Topic) -> Vec<Message> {
    let value = "x".repeat(10_000);
    (0..BATCH).map(|_| message(topic, "AAPL", &value)).collect()
}

fn in_flight(node: &Node) -> f64 {
    node.metric("tailcast_ingest_in_flight_bytes")
}

/// Runs a future, and returns its result with the largest observed number of bytes in flight.
async fn watched<T>(node: &Node, act: impl Future<Output = T>) -> (T, f64) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let mut most = 0.0_f64;
    tokio::pin!(act);
    loop {
        tokio::select! {
            done = &mut act => return (done, most),
            _ = looks.tick() => most = most.max(in_flight(node)),
        }
    }
}
