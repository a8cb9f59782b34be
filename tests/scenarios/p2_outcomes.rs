//! P2: no false outcome. Every message is acknowledged, refused or unknown, and a refused message
//! never appears.

use tailcast_proto::ingest::v1::outcome::Result::{Acknowledged, Refused};
use tailcast_proto::ingest::v1::{Message, Reason};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::publisher::message;
use tonic::Code;
use tonic_types::StatusExt as _;

tailcast_tests::scenarios! {
    everywhere {
        each_message_of_a_batch_has_its_own_outcome
        a_publish_without_kafka_returns_whether_its_outcome_is_known
        a_stream_acknowledges_every_message_once_and_in_order
    }
    apache_kafka {
        // The in-process broker's topics have no configuration.
        a_message_larger_than_its_topic_takes_is_refused_and_never_appears
    }
}

async fn each_message_of_a_batch_has_its_own_outcome(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let missing = broker.name_topic("missing", 3);

    let batch = vec![message(&quotes, "AAPL", 1), message(&missing, "AAPL", 2), message(&quotes, "AAPL", 3)];
    let outcomes = cluster.publisher().try_publish(batch).await.expect("one message was acknowledged");

    let [Acknowledged(first), Refused(refused), Acknowledged(last)] = &outcomes[..] else {
        panic!("expected acknowledged, refused, acknowledged: {outcomes:?}");
    };
    assert_eq!((first.offset, last.offset), (0, 1));
    assert_eq!(refused.reason(), Reason::UnknownTopic, "{refused:?}");
    assert!(refused.detail.contains(missing.name().as_ref()), "the detail names the topic: {refused:?}");
}

async fn a_message_larger_than_its_topic_takes_is_refused_and_never_appears(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.name_topic("quotes", 1);
    broker.create_with(&quotes, &[("max.message.bytes", "10000")]).await;

    let batch = vec![message(&quotes, "AAPL", "x".repeat(20_000))];
    let status = cluster.publisher().try_publish(batch).await.expect_err("no message was acknowledged");

    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().expect("the status carries ErrorInfo");
    assert_eq!(info.reason, "TOO_LARGE", "{info:?}");
    assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("refused"), "{info:?}");
    assert_eq!(quotes.records(), []);
}

async fn a_publish_without_kafka_returns_whether_its_outcome_is_known(broker: Broker) {
    let broker = broker.of_its_own();
    let cluster = Cluster::on(&broker).push(0).set("ingest.deadline", "3s").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;

    broker.go_down();
    let status = cluster.publisher().try_publish(vec![message(&quotes, "AAPL", "meanwhile")]).await;
    let status = status.expect_err("Kafka is gone");
    let outcome = match status.code() {
        Code::Unavailable => {
            let info = status.get_details_error_info().expect("UNAVAILABLE carries ErrorInfo");
            info.metadata.get("outcome").expect("ErrorInfo has the outcome").clone()
        }
        Code::DeadlineExceeded => "unknown".to_owned(),
        _ => panic!("expected UNAVAILABLE or DEADLINE_EXCEEDED: {status:?}"),
    };
    broker.come_back();
    cluster.publisher().publish(&quotes, "AAPL", ["after"]).await;

    let records = quotes.records();
    let values: Vec<_> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    match outcome.as_str() {
        "refused" => assert_eq!(values, [&b"before"[..], b"after"]),
        "unknown" => assert!(values.starts_with(&[b"before"]) && values.ends_with(&[b"after"]), "{values:?}"),
        other => panic!("an outcome is refused or unknown, not {other:?}"),
    }
}

async fn a_stream_acknowledges_every_message_once_and_in_order(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let messages: Vec<Message> = (0..2_000).map(|value| message(&quotes, "AAPL", value)).collect();

    let settled = cluster.publisher().publish_stream(1_000, &messages).await;

    let expected: Vec<_> = (1_000..3_000).collect();
    assert_eq!(settled, expected, "every sequence number once, in order");
    let values: Vec<_> = quotes.records().into_iter().filter_map(|record| record.value).collect();
    let expected: Vec<_> = (0..2_000).map(|value| value.to_string()).collect();
    assert_eq!(values, expected);
}
