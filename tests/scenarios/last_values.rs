//! Last values: a node keeps the latest value of each key, for configured topics.

use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::{Cluster, Plan};
use tailcast_tests::deadline::eventually;
use tailcast_tests::node::Node;
use tailcast_tests::topic::Topic;

tailcast_tests::scenarios! {
    everywhere {
        a_node_is_ready_once_the_last_values_of_its_topics_are_loaded
        a_topic_that_does_not_exist_yet_keeps_no_node_from_being_ready
        a_topic_with_too_many_last_values_keeps_none_and_others_keep_theirs
    }
    apache_kafka {
        // The in-process broker neither deletes topics nor adds partitions.
        the_last_values_of_a_recreated_topic_are_those_of_the_new_one
        the_last_values_of_added_partitions_are_kept
        // The in-process broker deletes records by size only.
        loading_does_not_wait_for_records_that_retention_removed
    }
}

async fn a_node_is_ready_once_the_last_values_of_its_topics_are_loaded(broker: Broker) {
    let quotes = broker.create_topic("quotes", 3).await;
    quotes.append((0..3_000).map(|value| (format!("K{}", value % 50), value))).await;

    let cluster = keeping(&broker, &[&quotes]).start().await;

    assert_eq!(keys(&cluster.push[0], &quotes), 50.0, "all are loaded when the node is ready");
    cluster.publisher().publish(&quotes, "another", ["value"]).await;
    wait_for_keys(&cluster.push[0], &quotes, 51.0).await;
    cluster.publisher().publish(&quotes, "K7", ["value"]).await;
    cluster.publisher().publish(&quotes, "one more", ["value"]).await;
    wait_for_keys(&cluster.push[0], &quotes, 52.0).await;
}

async fn a_topic_that_does_not_exist_yet_keeps_no_node_from_being_ready(broker: Broker) {
    let quotes = broker.name_topic("quotes", 2);
    let cluster = keeping(&broker, &[&quotes]).start().await;

    broker.create(&quotes).await;
    quotes.append((0..100).map(|value| (format!("K{}", value % 10), value))).await;

    wait_for_keys(&cluster.push[0], &quotes, 10.0).await;
    assert!(cluster.push[0].state().is_ready());
}

async fn a_topic_with_too_many_last_values_keeps_none_and_others_keep_theirs(broker: Broker) {
    let few = broker.create_topic("few", 2).await;
    let many = broker.create_topic("many", 4).await;
    few.append((0..10).map(|value| (format!("K{value}"), value))).await;
    many.append((0..2_000).map(|value| (format!("K{value}"), value))).await;

    // 10 values of some 260 bytes fit, and 2,000 do not.
    let plan = keeping(&broker, &[&few, &many]).set("push.last_values.bytes_max", 100_000);
    let cluster = plan.start().await;

    let node = &cluster.push[0];
    let report = node.in_trouble().await.to_string();
    let expected = format!("push.last_values: degraded: last values of {} are not kept", many.name());
    assert!(report.starts_with("ready\n") && report.contains(&expected), "{report}");
    assert_eq!(node.metric("tailcast_push_last_values_topics_too_large"), 1.0);
    assert_eq!((keys(node, &few), keys(node, &many)), (10.0, 0.0));
    let bytes = node.metric("tailcast_push_last_values_bytes");
    assert_eq!(bytes, 10.0 * (3.0 + 256.0), "only the ten are counted");
    // Later records do not bring them back.
    cluster.publisher().publish(&many, "K1", ["value"]).await;
    cluster.publisher().publish(&few, "another", ["value"]).await;
    wait_for_keys(node, &few, 11.0).await;
    assert_eq!(keys(node, &many), 0.0);
}

async fn the_last_values_of_a_recreated_topic_are_those_of_the_new_one(broker: Broker) {
    let quotes = broker.create_topic("quotes", 2).await;
    quotes.append((0..20).map(|value| (format!("old{value}"), value))).await;
    let cluster = keeping(&broker, &[&quotes]).start().await;
    assert_eq!(keys(&cluster.push[0], &quotes), 20.0);

    quotes.delete().await;
    broker.create(&quotes).await;
    quotes.append((0..3).map(|value| (format!("new{value}"), value))).await;

    wait_for_keys(&cluster.push[0], &quotes, 3.0).await;
    assert!(cluster.push[0].state().is_ready(), "the other topics of a node are served meanwhile");
}

async fn the_last_values_of_added_partitions_are_kept(broker: Broker) {
    // A node that knew the old partitions found no leader of the new ones for half a minute.
    let mut quotes = broker.create_topic("quotes", 1).await;
    quotes.append((0..10).map(|value| (format!("K{value}"), value))).await;
    let cluster = keeping(&broker, &[&quotes]).start().await;

    quotes.grow(4).await;
    quotes.append((0..40).map(|value| (format!("later{value}"), value))).await;

    wait_for_keys(&cluster.push[0], &quotes, 50.0).await;
}

async fn loading_does_not_wait_for_records_that_retention_removed(broker: Broker) {
    let quotes = broker.create_topic("quotes", 1).await;
    quotes.append((0..100).map(|value| (format!("K{value}"), value))).await;
    quotes.delete_records_before(quotes.partition_of("K0"), 60).await;

    let cluster = keeping(&broker, &[&quotes]).start().await;

    assert_eq!(keys(&cluster.push[0], &quotes), 40.0);
}

/// Describes a cluster that keeps the last values of topics.
fn keeping(broker: &Broker, topics: &[&Topic]) -> Plan {
    topics.iter().fold(Cluster::on(broker), |plan, topic| {
        plan.set(&format!("push.topic.{}.last_values", topic.name()), true)
    })
}

/// Returns the number of keys of a topic whose last values a node has.
fn keys(node: &Node, topic: &Topic) -> f64 {
    node.metric_with("tailcast_push_last_values_keys", &format!("\"{}\"", topic.name()))
}

async fn wait_for_keys(node: &Node, topic: &Topic, expected: f64) {
    let found = async || keys(node, topic);
    eventually(format_args!("{expected} last values"), found, |found| *found == expected).await;
}
