//! Outcomes of batches.

use bytes::Bytes;
use rdkafka::{Message as _, message::Headers};
use tailcast_proto::{
    ingest::v1::{Header, Message, PublishRequest, Reason, outcome},
    partition_of_key,
};

use crate::{
    kafka::read,
    node::{Node, acknowledged, quote, quotes, topic},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_message_is_in_kafka_where_the_answer_says() {
    let node = Node::start().await;
    let outcomes = node.publish(vec![quote("AAPL", "1"), quote("MSFT", "2"), quote("AAPL", "3")]).await;
    let outcomes = outcomes.expect("Kafka is there");
    let records = read(&node.kafka, "quotes", 3, 3);
    for (outcome, (key, value)) in outcomes.iter().zip([("AAPL", "1"), ("MSFT", "2"), ("AAPL", "3")]) {
        let acknowledged = acknowledged(outcome);
        assert_eq!(acknowledged.topic, "quotes");
        assert_eq!(
            acknowledged.partition,
            partition_of_key(key.as_bytes(), 3).get(),
            "as Java producers choose"
        );
        let at = |record: &&rdkafka::message::OwnedMessage| {
            record.offset() == acknowledged.offset
                && u32::try_from(record.partition()) == Ok(acknowledged.partition)
        };
        let record = records.iter().find(at).expect("the record is where the answer says");
        assert_eq!(record.payload(), Some(value.as_bytes()));
        assert_eq!(record.key(), Some(key.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_one_key_are_appended_in_order() {
    let node = Node::start().await;
    let outcomes = node.publish(quotes(500)).await.expect("Kafka is there");
    let offsets: Vec<_> = outcomes.iter().map(|outcome| acknowledged(outcome).offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    let values: Vec<_> = read(&node.kafka, "quotes", 3, 500)
        .into_iter()
        .map(|record| String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned())
        .collect();
    assert_eq!(values, (0..500).map(|at| at.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_messages_headers_content_type_time_and_trace() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let node = Node::start().await;
    let message = Message {
        headers: vec![
            Header { name: "ce_id".into(), value: Some(Bytes::from_static(b"7")) },
            Header { name: "nothing".into(), value: None },
        ],
        content_type: "application/json".into(),
        timestamp_ms: Some(1_700_000_000_123),
        ..quote("AAPL", "{}")
    };
    let mut request = tonic::Request::new(PublishRequest { messages: vec![message] });
    request.metadata_mut().insert("traceparent", PARENT.parse().expect("a metadata value"));
    node.publisher().await.publish(request).await.expect("Kafka is there");

    let record = read(&node.kafka, "quotes", 3, 1).remove(0);
    assert_eq!(record.timestamp().to_millis(), Some(1_700_000_000_123));
    let headers = record.headers().expect("it has headers");
    let found: Vec<_> =
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
    let expected = [
        ("ce_id", Some("7")),
        ("nothing", None),
        ("content-type", Some("application/json")),
        ("traceparent", Some(PARENT)),
    ];
    let expected =
        expected.map(|(name, value)| (name.to_owned(), value.map(|value| value.as_bytes().to_vec())));
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_value_and_an_absent_key_reach_kafka_as_such() {
    let node = Node::start().await;
    node.kafka.create_topic(&topic("chat"), 1).expect("the topic is new");
    let tombstone = Message { topic: "chat".into(), value: None, ..quote("AAPL", "") };
    let keyless = Message { topic: "chat".into(), key: None, ..quote("", "hello") };
    let empty = Message { topic: "chat".into(), ..quote("AAPL", "") };
    node.publish(vec![tombstone, keyless, empty]).await.expect("Kafka is there");
    let records = read(&node.kafka, "chat", 1, 3);
    let found: Vec<_> = records.iter().map(|record| (record.key(), record.payload())).collect();
    assert_eq!(
        found,
        [
            (Some(b"AAPL".as_slice()), None),
            (None, Some(b"hello".as_slice())),
            (Some(b"AAPL".as_slice()), Some(b"".as_slice())),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_a_moment_ago_can_be_published_to() {
    let node = Node::start().await;
    node.publish(quotes(1)).await.expect("Kafka is there");
    node.kafka.create_topic(&topic("new"), 1).expect("the topic is new");
    let outcomes = node.publish(vec![Message { topic: "new".into(), ..quote("AAPL", "1") }]).await;
    acknowledged(&outcomes.expect("the topic exists")[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_fails_only_its_own_messages() {
    let node = Node::start().await;
    let nowhere = Message { topic: "nowhere".into(), ..quote("AAPL", "2") };
    let outcomes = node.publish(vec![quote("AAPL", "1"), nowhere, quote("AAPL", "3")]).await;
    let outcomes = outcomes.expect("some messages were acknowledged");
    acknowledged(&outcomes[0]);
    acknowledged(&outcomes[2]);
    match &outcomes[1].result {
        Some(outcome::Result::Refused(refused)) => assert_eq!(refused.reason(), Reason::UnknownTopic),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        node.metric("tailcast_ingest_messages_total{topic=\"quotes\",outcome=\"acknowledged\"}").as_deref(),
        Some("2")
    );
    assert_eq!(
        node.metric(
            "tailcast_ingest_messages_not_acknowledged_total{outcome=\"refused\",reason=\"UNKNOWN_TOPIC\"}"
        )
        .as_deref(),
        Some("1")
    );
}
