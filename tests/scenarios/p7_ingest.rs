//! P7: an ingest node that drains while Kafka does not answer returns an outcome for every message.

use tailcast_proto::ingest::v1::{Failure, PublishStreamRequest, outcome};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::{eventually, within};
use tailcast_tests::publisher::message;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

tailcast_tests::scenarios! {
    everywhere {
        a_draining_ingest_node_returns_outcomes_while_kafka_does_not_answer
    }
}

async fn a_draining_ingest_node_returns_outcomes_while_kafka_does_not_answer(broker: Broker) {
    let broker = broker.of_its_own();
    let cluster = Cluster::on(&broker).push(0).set("ingest.drain_within", "1s").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let node = &cluster.ingest[0];
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;

    broker.stall();
    let batch = |what: &str| vec![message(&quotes, "AAPL", what); 500];
    let request =
        PublishStreamRequest { first_sequence: 1, messages: batch("stream"), want_positions: false };
    // The caller does not half-close the stream.
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut client = cluster.publisher().client();
    let mut stream = client.publish_stream(requests).await.expect("the stream opens").into_inner();
    let told = async {
        let mut told = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(answer)) => told.extend(answer.failures),
                Ok(None) => panic!("the caller has not half-closed"),
                Err(status) => return (told, status),
            }
        }
    };
    let draining = async {
        let in_flight = async || node.metric("tailcast_ingest_in_flight_messages");
        let _messages = eventually("both are in flight", in_flight, |messages| *messages >= 1_000.0).await;
        node.drain();
        node.drained().await;
    };
    let unary = cluster.publisher().try_publish(batch("unary"));
    let ((told, end), unary, ()) =
        within("all calls end", async { tokio::join!(told, unary, draining) }).await;

    let outcome = |status: &Status| {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        info.metadata.get("outcome").cloned()
    };
    let unary = outcome(&unary.expect_err("Kafka answered nothing"));
    assert!(matches!(unary.as_deref(), Some("refused" | "unknown")), "{unary:?}");
    let numbers: Vec<_> = told.iter().map(|failure| failure.sequence).collect();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>(), "each outcome is returned once, in order");
    assert_eq!(outcome(&end).as_deref(), Some("refused"), "messages without an outcome were refused");
    // Refused messages do not appear; unknown ones may.
    let refused = |failure: &Failure| {
        let outcome = failure.outcome.as_ref().and_then(|outcome| outcome.result.as_ref());
        matches!(outcome, Some(outcome::Result::Refused(_)))
    };
    broker.resume();
    let allowed = 1
        + if unary.as_deref() == Some("refused") { 0 } else { 500 }
        + told.iter().filter(|failure| !refused(failure)).count();
    let records = quotes.records().len();
    assert!((1..=allowed).contains(&records), "{records} records, and at most {allowed} may have appeared");
}
