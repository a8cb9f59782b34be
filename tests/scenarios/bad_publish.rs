//! Invalid requests: nothing is published, and the error names the message and the field.

use bytes::Bytes;
use tailcast_proto::ingest::v1::{Header, Message};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::publisher::message;
use tailcast_tests::raw_codec::RawCodec;
use tailcast_tests::topic::Topic;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

tailcast_tests::scenarios! {
    everywhere {
        a_bad_message_fails_its_batch_naming_the_index_and_the_field
        a_batch_is_1_to_500_messages
        a_request_larger_than_the_limit_is_refused_with_the_limit
        a_null_value_is_a_tombstone
        a_stream_that_jumps_ends_with_the_reason
        a_request_that_is_not_protobuf_is_refused_and_the_connection_continues
    }
}

async fn a_bad_message_fails_its_batch_naming_the_index_and_the_field(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let good = || message(&quotes, "AAPL", "value");
    let named = |topic: &str| Message { topic: topic.to_owned(), ..good() };
    let header = |name: &str| Header { name: name.to_owned(), value: None };

    for (bad, field, description) in [
        (named(""), "messages[1].topic", "empty"),
        (named("__consumer_offsets"), "messages[1].topic", "__"),
        (named(&"t".repeat(250)), "messages[1].topic", "249"),
        (named("quo/tes"), "messages[1].topic", "'/' at byte 3"),
        (named(".."), "messages[1].topic", ".."),
        (Message { key: Some(Bytes::new()), ..good() }, "messages[1].key", "1 byte"),
        (Message { headers: vec![header("")], ..good() }, "messages[1].headers[0].name", "1 byte"),
        (Message { timestamp_ms: Some(-5), ..good() }, "messages[1].timestamp_ms", "-5"),
        (Message { value: Some(vec![0; 2_000_000].into()), ..good() }, "messages[1].value", "2000"),
    ] {
        let status = cluster.publisher().try_publish(vec![good(), bad, good()]).await.expect_err(field);
        assert_violation(&status, field, description);
    }
    assert_nothing_was_published(&quotes);
}

async fn a_batch_is_1_to_500_messages(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    for count in [0, 501] {
        let batch = vec![message(&quotes, "AAPL", "value"); count];
        let status = cluster.publisher().try_publish(batch).await.expect_err("not 1 to 500");
        assert_violation(&status, "messages", "500");
    }
    assert_nothing_was_published(&quotes);
    let batch = vec![message(&quotes, "AAPL", "value"); 500];
    cluster.publisher().publish_all(batch).await;
}

async fn a_request_larger_than_the_limit_is_refused_with_the_limit(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;

    let batch = vec![message(&quotes, "AAPL", "x".repeat(100_000)); 50];
    let status = cluster.publisher().try_publish(batch).await.expect_err("5 MB are too much for one request");

    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("4194304"), "{status:?}");
    assert_nothing_was_published(&quotes);
}

async fn a_null_value_is_a_tombstone(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;

    let tombstone = Message { value: None, ..message(&quotes, "AAPL", "") };
    cluster.publisher().publish_all(vec![tombstone]).await;

    assert_eq!(quotes.records()[0].value, None);
}

async fn a_stream_that_jumps_ends_with_the_reason(broker: Broker) {
    use tailcast_proto::ingest::v1::PublishStreamRequest;
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let part = |first_sequence| PublishStreamRequest {
        first_sequence,
        messages: vec![message(&quotes, "AAPL", first_sequence)],
        want_positions: false,
    };

    let stream = tokio_stream::iter([part(1), part(3)]);
    let mut answers =
        cluster.publisher().client().publish_stream(stream).await.expect("it opens").into_inner();
    let status = loop {
        match answers.message().await {
            Ok(Some(_acknowledged)) => {}
            Ok(None) => panic!("a stream that jumps ended well"),
            Err(status) => break status,
        }
    };

    assert_violation(&status, "first_sequence", "2");
}

async fn a_request_that_is_not_protobuf_is_refused_and_the_connection_continues(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = cluster.publisher().channel();

    for method in ["Publish", "PublishStream"] {
        let status = call_with_bytes(channel.clone(), method, Bytes::from_static(&[0xff; 16])).await;
        let status = status.expect_err("sixteen times 0xff is not a request");
        assert!(matches!(status.code(), Code::InvalidArgument | Code::Internal), "{method}: {status:?}");
        assert!(status.message().contains("decode"), "{method} names the problem: {status:?}");
    }

    cluster.publisher().publish(&quotes, "AAPL", ["a later message"]).await;
}

/// Calls a method of the ingest service with these bytes as the request.
async fn call_with_bytes(channel: Channel, method: &str, request: Bytes) -> Result<(), Status> {
    let path = format!("/tailcast.ingest.v1.IngestService/{method}").parse().expect("a method has a path");
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the node is there");
    let answers = grpc.streaming(Request::new(tokio_stream::once(request)), path, RawCodec).await?;
    let mut answers = answers.into_inner();
    while let Some(_answer) = answers.message().await? {}
    Ok(())
}

#[track_caller]
fn assert_violation(status: &Status, field: &str, description: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details =
        status.get_details_bad_request().unwrap_or_else(|| panic!("BadRequest is missing: {status:?}"));
    let violation = details.field_violations.iter().find(|violation| violation.field == field);
    let violation = violation.unwrap_or_else(|| panic!("no violation of {field}: {details:?}"));
    assert!(violation.description.contains(description), "{violation:?} does not say {description:?}");
    assert!(status.get_details_error_info().is_some(), "ErrorInfo is missing: {status:?}");
}

#[track_caller]
fn assert_nothing_was_published(topic: &Topic) {
    assert_eq!(topic.records(), []);
}
