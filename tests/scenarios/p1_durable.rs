//! P1: an acknowledged publish is durable.

use tailcast_proto::ingest::v1::Acknowledged;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::eventually;
use tailcast_tests::node::Node;
use tailcast_tests::publisher::message;
use tailcast_tests::topic::{Record, Topic};
use tonic::Code;

tailcast_tests::scenarios! {
    everywhere {
        an_acknowledged_publish_is_readable_from_kafka
        an_acknowledged_publish_survives_every_tailcast_process
        an_acknowledgement_names_the_partition_that_a_java_producer_chooses
    }
    apache_kafka {
        // The in-process broker has no replicas.
        an_acknowledged_publish_survives_the_crash_of_any_one_broker
        // The in-process broker cannot delete a topic.
        a_deleted_topic_is_not_created_again_by_publishing_to_it
    }
}

async fn an_acknowledged_publish_is_readable_from_kafka(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 3).await;

    let acknowledged = cluster.publisher().publish(&quotes, "AAPL", 1..=700).await;

    assert_readable(&quotes, &acknowledged, 1..=700);
}

async fn an_acknowledged_publish_survives_every_tailcast_process(broker: Broker) {
    let mut cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;

    let acknowledged = cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    cluster.ingest.iter_mut().chain(&mut cluster.push).for_each(Node::kill);

    assert_readable(&quotes, &acknowledged, 1..=3);
}

async fn an_acknowledgement_names_the_partition_that_a_java_producer_chooses(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 7).await;

    // From Apache Kafka's own test of murmur2: hashes -973932308, -790332482, -985981536 and
    // 479470107, sign bit cleared, modulo 7.
    for (key, partition) in [("21", 3), ("foobar", 0), ("a-little-bit-long-string", 1), ("abc", 4)] {
        let acknowledged = cluster.publisher().publish(&quotes, key, ["value"]).await;
        assert_eq!(acknowledged[0].partition, partition, "{key}");
    }
}

async fn an_acknowledged_publish_survives_the_crash_of_any_one_broker(_shared: Broker) {
    let broker = Broker::of_nodes(3);
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 3).await;

    let mut acknowledged = cluster.publisher().publish(&quotes, "AAPL", 1..=500).await;
    broker.crash_leader_of(&quotes, quotes.partition_of("AAPL"));
    acknowledged.extend(cluster.publisher().publish(&quotes, "AAPL", 501..=1000).await);

    assert_readable(&quotes, &acknowledged, 1..=1000);
}

async fn a_deleted_topic_is_not_created_again_by_publishing_to_it(_shared: Broker) {
    // By default librdkafka's producers let the broker create missing topics: ingest acknowledged
    // messages of a topic that nobody had created, with default partitions and retention.
    let broker = Broker::that_creates_topics();
    // Ingest does not refresh the topic in time, so the producer decides.
    let cluster = Cluster::on(&broker).push(0).set("ingest.topics.refresh", "1h").start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    cluster.publisher().publish(&quotes, "AAPL", [1]).await;

    quotes.delete().await;
    eventually("the topic is deleted", async || quotes.exists(), |exists| !exists).await;
    let published = cluster.publisher().try_publish(vec![message(&quotes, "AAPL", 2)]).await;

    let refused = published.expect_err("there is no such topic");
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert!(!quotes.exists(), "the topic was created again");
}

/// Checks that every acknowledged value is in Kafka at its acknowledged position.
#[track_caller]
fn assert_readable(topic: &Topic, acknowledged: &[Acknowledged], values: impl IntoIterator<Item = u32>) {
    let records = topic.records();
    let values: Vec<_> = values.into_iter().collect();
    assert_eq!(acknowledged.len(), values.len());
    for (Acknowledged { topic: name, partition, offset }, value) in acknowledged.iter().zip(values) {
        assert_eq!(name, topic.name().as_ref());
        let at = |record: &&_| is_at(record, *partition, *offset);
        let record = records.iter().find(at).unwrap_or_else(|| panic!("nothing at {partition}:{offset}"));
        assert_eq!(record.value.as_deref(), Some(value.to_string().as_bytes()), "{record:?}");
    }
}

fn is_at(record: &Record, partition: u32, offset: i64) -> bool {
    record.partition.get() == partition && record.offset.get() == offset
}
