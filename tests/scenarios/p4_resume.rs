//! P4: a client that resumes from a position, on any node, gets exactly the records after it, each
//! once.

use std::time::{Duration, Instant};

use tailcast_proto::Position;
use tailcast_proto::push::v1::{Outcome, Subscribed};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::within;
use tailcast_tests::start::{earliest, live, position, timestamp};

tailcast_tests::scenarios! {
    everywhere {
        a_subscriber_resumes_on_another_node_without_a_gap
        a_subscriber_resumes_on_another_node_10_000_records_later
        a_position_inside_the_window_is_served_from_memory
        a_position_older_than_the_window_is_served_from_kafka
        catching_up_meets_the_live_records_without_gap_or_repetition
        a_whole_topic_resumes_in_every_partition
        live_starts_with_the_next_record
        earliest_starts_with_the_oldest_record
        a_position_starts_with_the_record_at_it
        the_end_as_a_position_starts_with_the_next_record
        a_reply_carries_the_position_of_its_subscription
        a_quiet_channel_resumes_from_the_progress_in_heartbeats
        a_heartbeat_sent_with_a_delivery_has_the_progress_of_a_quiet_channel
        a_timestamp_starts_with_the_first_record_at_or_after_it
        resumed_records_do_not_count_as_latency
    }
    apache_kafka {
        // The in-process broker keeps 5 MB of a partition.
        a_subscriber_resumes_on_another_node_100_000_records_later_without_gap_or_repetition
    }
}

async fn a_subscriber_resumes_on_another_node_without_a_gap(broker: Broker) {
    let mut cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let channel = quotes.channel("AAPL");
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel, live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;

    let left_at = subscriber.position(&channel);
    cluster.push[0].kill();
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    let mut subscriber = cluster.subscriber(1).await;
    subscriber.subscribe(&channel, position(&left_at)).await;
    cluster.publisher().publish(&quotes, "AAPL", 7..=9).await;
    subscriber.expect(4..=9).await;
}

async fn a_subscriber_resumes_on_another_node_10_000_records_later(broker: Broker) {
    resume_on_another_node_after(broker, 10_000).await;
}

async fn a_subscriber_resumes_on_another_node_100_000_records_later_without_gap_or_repetition(
    broker: Broker,
) {
    resume_on_another_node_after(broker, 100_000).await;
}

async fn resume_on_another_node_after(broker: Broker, records: u32) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel, live()).await;
    cluster.publisher().publish(&quotes, "AAPL", ["first"]).await;
    subscriber.expect(["first"]).await;
    let left_at = subscriber.position(&channel);
    subscriber.leave().await;

    // Records of other keys lie between, which the channel must not deliver.
    quotes.append((0..records).map(|value| (if value % 2 == 0 { "AAPL" } else { "MSFT" }, value))).await;

    let mut subscriber = cluster.subscriber(1).await;
    subscriber.subscribe(&channel, position(&left_at)).await;
    cluster.publisher().publish(&quotes, "AAPL", ["last"]).await;
    subscriber.expect((0..records).step_by(2)).await;
    subscriber.expect(["last"]).await;
}

async fn a_position_inside_the_window_is_served_from_memory(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&channel, live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=5).await;
    watcher.expect(1..=5).await;

    let mut subscriber = cluster.subscriber(0).await;
    let subscribed = subscriber.subscribe(&channel, position(&quotes.at("AAPL", 2))).await;

    assert_eq!(subscribed.outcome(), Outcome::Resumed);
    subscriber.expect(3..=5).await;
}

async fn a_position_older_than_the_window_is_served_from_kafka(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    // There is no subscription here yet, so the node has none of these records in memory.
    cluster.publisher().publish(&quotes, "AAPL", 1..=100).await;

    let mut subscriber = cluster.subscriber(0).await;
    let subscribed = subscriber.subscribe(&channel, position(&quotes.at("AAPL", 10))).await;

    assert_eq!(subscribed.outcome(), Outcome::CatchingUp);
    subscriber.expect(11..=100).await;
}

async fn catching_up_meets_the_live_records_without_gap_or_repetition(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    cluster.publisher().publish(&quotes, "AAPL", 0..5_000).await;

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel, earliest()).await;
    // Records that are published while the subscriber catches up arrive in the window, where
    // catching up ends.
    tokio::join!(cluster.publisher().publish(&quotes, "AAPL", 5_000..10_000), subscriber.expect(0..10_000));
}

async fn a_whole_topic_resumes_in_every_partition(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 4).await;
    let keys: Vec<_> = (0..20).map(|key| format!("key-{key}")).collect();
    let publish = async |value: u32| {
        for key in &keys {
            cluster.publisher().publish(&quotes, key, [value]).await;
        }
    };
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.all(), live()).await;
    publish(1).await;
    for _ in &keys {
        assert_eq!(subscriber.receive().await.text(), "1");
    }
    let left_at = subscriber.position(&quotes.all());
    subscriber.leave().await;
    publish(2).await;

    let mut subscriber = cluster.subscriber(1).await;
    subscriber.subscribe(&quotes.all(), position(&left_at)).await;
    let mut resumed = Vec::new();
    for _ in &keys {
        let received = subscriber.receive().await;
        assert_eq!(received.text(), "2", "{received:?}");
        resumed.push(
            String::from_utf8_lossy(&received.key.expect("a delivery of a whole topic has its key"))
                .into_owned(),
        );
    }

    resumed.sort();
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(resumed, expected);
}

async fn live_starts_with_the_next_record(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;

    let mut subscriber = cluster.subscriber(0).await;
    let subscribed = subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    assert_eq!(subscribed.outcome(), Outcome::Live);
    subscriber.expect(4..=6).await;
}

async fn earliest_starts_with_the_oldest_record(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    subscriber.expect(1..=6).await;
}

async fn a_position_starts_with_the_record_at_it(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let acknowledged = cluster.publisher().publish(&quotes, "AAPL", 1..=6).await;

    let mut subscriber = cluster.subscriber(0).await;
    let fourth = quotes.at("AAPL", acknowledged[3].offset);
    subscriber.subscribe(&quotes.channel("AAPL"), position(&fourth)).await;

    subscriber.expect(4..=6).await;
}

async fn the_end_as_a_position_starts_with_the_next_record(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), position(&quotes.at("AAPL", 3))).await;
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    subscriber.expect(4..=6).await;
}

async fn a_timestamp_starts_with_the_first_record_at_or_after_it(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let at = |value: i64| tailcast_proto::ingest::v1::Message {
        timestamp_ms: Some(1_700_000_000_000 + value),
        ..tailcast_tests::publisher::message(&quotes, "AAPL", value)
    };
    cluster.publisher().publish_all((0..100).map(|value| at(value * 10)).collect()).await;

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), timestamp(1_700_000_000_495)).await;

    subscriber.expect((500..1_000).step_by(10)).await;
}

async fn a_reply_carries_the_position_of_its_subscription(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    let mut subscriber = cluster.subscriber(0).await;

    let of_key = subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    let of_topic = subscriber.subscribe(&quotes.all(), earliest()).await;

    let (of_key, of_topic) = (parse(&of_key), parse(&of_topic));
    assert_eq!(of_key.offsets, quotes.at("AAPL", 3).offsets, "the partition of the key, at its end");
    assert!(of_topic.offsets.values().all(|offset| offset.get() == 0), "{of_topic}");
    assert_eq!(of_topic.offsets.len(), 3, "{of_topic}");
    assert_eq!(of_topic.partition_count, Some(3));
    assert!(of_key.epoch.is_some() && of_key.epoch == of_topic.epoch, "{of_key} and {of_topic}");
}

fn parse(subscribed: &Subscribed) -> Position {
    let position = subscribed.position.clone().expect("Subscribed carries a position");
    Position::try_from(position).expect("a node sends valid positions")
}

async fn a_quiet_channel_resumes_from_the_progress_in_heartbeats(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).set("push.sessions.heartbeat_interval", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let quiet = quotes.channel("QUIET");
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quiet, live()).await;

    cluster.publisher().publish(&quotes, "AAPL", 1..=100).await;
    subscriber.expect_progress(&quiet, quotes.partition_of("QUIET"), 100).await;
    let left_at = subscriber.position(&quiet);
    cluster.publisher().publish(&quotes, "QUIET", ["at last"]).await;

    let mut elsewhere = cluster.subscriber(1).await;
    elsewhere.subscribe(&quiet, position(&left_at)).await;
    elsewhere.expect(["at last"]).await;
    subscriber.expect(["at last"]).await;
}

async fn a_heartbeat_sent_with_a_delivery_has_the_progress_of_a_quiet_channel(broker: Broker) {
    let interval = Duration::from_secs(2);
    let cluster = Cluster::on(&broker).set("push.sessions.heartbeat_interval", "2s").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let (busy, quiet) = (quotes.channel("BUSY"), quotes.channel("QUIET"));
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&busy, live()).await;
    subscriber.subscribe(&quiet, live()).await;

    // Only heartbeats advance the quiet channel. One that was sent with a delivery was early.
    let (mut told, mut told_at, mut last) = (subscriber.position(&quiet), None, 0);
    let came_early = async {
        loop {
            last += 1;
            cluster.publisher().publish(&quotes, "BUSY", [last]).await;
            subscriber.expect([last]).await;
            let position = subscriber.position(&quiet);
            if position != told {
                let before = told_at.replace(Instant::now());
                if before.is_some_and(|before| before.elapsed() < interval.mul_f64(0.95)) {
                    return position;
                }
                told = position;
            }
        }
    };
    let left_at = within("an early heartbeat", came_early).await;
    cluster.publisher().publish(&quotes, "QUIET", ["at last"]).await;
    subscriber.expect(["at last"]).await;

    let mut elsewhere = cluster.subscriber(0).await;
    elsewhere.subscribe(&quiet, position(&left_at)).await;
    elsewhere.expect(["at last"]).await;
}

async fn resumed_records_do_not_count_as_latency(broker: Broker) {
    // A single `--from earliest` added 52 samples above 16 s to the latency of live deliveries.
    let cluster = Cluster::on(&broker).start().await;
    let node = &cluster.push[0];
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    let samples = || {
        let count = |name: &str| node.metric(&format!("tailcast_push_{name}_seconds_count"));
        (count("delivery_latency"), count("resumed_age"))
    };

    // First from Kafka, as the node has nothing in memory, and then from memory.
    for resumes in 1..=2 {
        let mut subscriber = cluster.subscriber(0).await;
        subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
        subscriber.expect(1..=3).await;
        let (latency, resumed) = samples();
        assert_eq!(latency, 0.0, "no record was live");
        assert!(resumed >= f64::from(resumes), "{resumed} samples of {resumes} resumes");
        subscriber.leave().await;
    }

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    let (_, resumed) = samples();
    cluster.publisher().publish(&quotes, "AAPL", 4..=4).await;
    subscriber.expect(4..=4).await;
    assert_eq!(samples(), (1.0, resumed));
}
