//! P4 and P5 for a quiet channel in a busy partition.

use tailcast_proto::push::v1::Outcome;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::start::{live, position};

tailcast_tests::scenarios! {
    everywhere {}
    apache_kafka {
        // The in-process broker keeps 5 MB of a partition.
        a_quiet_key_resumes_after_1_000_000_records_of_others_without_a_scan_or_a_false_loss
    }
}

async fn a_quiet_key_resumes_after_1_000_000_records_of_others_without_a_scan_or_a_false_loss(
    broker: Broker,
) {
    let cluster = Cluster::on(&broker).push(2).set("push.sessions.heartbeat_interval", "500ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let (quiet, partition) = (quotes.channel("QUIET"), quotes.partition_of("QUIET"));
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quiet, live()).await;

    for _ in 0..10 {
        quotes.append((0..100_000).map(|value| ("BUSY", value))).await;
    }
    subscriber.expect_progress(&quiet, partition, 1_000_000).await;
    let left_at = subscriber.position(&quiet);
    subscriber.leave().await;
    quotes.delete_records_before(partition, 1_000_000).await;

    let mut elsewhere = cluster.subscriber(1).await;
    let subscribed = elsewhere.subscribe(&quiet, position(&left_at)).await;
    assert_eq!((subscribed.outcome(), &subscribed.lost[..]), (Outcome::Resumed, &[][..]), "{subscribed:?}");
    cluster.publisher().publish(&quotes, "QUIET", ["at last"]).await;
    elsewhere.expect(["at last"]).await;
    for node in &cluster.push {
        assert_eq!(node.metric("tailcast_push_catch_up_read_bytes_total"), 0.0, "Kafka was read again");
    }
}
