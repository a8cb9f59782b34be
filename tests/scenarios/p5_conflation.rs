//! P5 for conflated subscribers: the latest record of each key is delivered, and skipped records
//! are counted exactly.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use tailcast_proto::push::v1::{DeliveryMode, SkipReason, Skipped};
use tailcast_proto::{Offset, PartitionId};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::conflated::ConflatedSubscriber;
use tailcast_tests::publisher::message;
use tailcast_tests::record::{Record, newest, of_channel};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{live, position};
use tailcast_tests::subscriber::Subscriber;
use tailcast_tests::topic::Topic;

tailcast_tests::scenarios! {
    everywhere {
        a_conflated_subscriber_that_keeps_up_gets_every_record
        a_conflated_subscriber_at_a_tenth_of_the_pace_is_within_one_read_of_the_latest
        a_conflated_subscriber_that_falls_out_of_the_window_gets_the_latest_from_kafka
        a_rate_limit_holds_for_each_key_and_the_latest_comes_in_the_end
    }
    apache_kafka {
        // The in-process broker cannot delete records.
        records_that_retention_removes_behind_a_conflated_subscriber_are_reported
    }
}

/// Number of deliveries that a slow subscriber reads at once: more than the kernel and the node
/// buffer for it, so that the deliveries of the next read are collected during this one.
const READ: usize = 700;

const WIRES: [Wire; 2] = [Wire::Proto, Wire::Json];

async fn a_conflated_subscriber_that_keeps_up_gets_every_record(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut subscribers = Vec::new();
    for wire in WIRES {
        // The number of keys below.
        for (channel, keys) in [(quotes.channel("AA-0"), 1), (quotes.prefix("AA-"), 5), (quotes.all(), 10)] {
            let subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
            let (subscriber, subscribed) =
                ConflatedSubscriber::start(subscriber, &channel, live(), 0.0).await;
            assert_eq!(subscribed.mode(), DeliveryMode::Conflated, "{subscribed:?}");
            subscribers.push((channel, keys, subscriber));
        }
    }

    let keys: Vec<_> = (0..10).map(|key| format!("{}-{}", ["AA", "BB"][key % 2], key / 2)).collect();
    for round in 1..=20 {
        // Several records of each key in one round, of which a subscriber that is behind gets only
        // some.
        let messages = keys.iter().flat_map(|key| [0, 1].map(|value| message(&quotes, key, value)));
        cluster.publisher().publish_all(messages.collect()).await;
        for (_, keys, subscriber) in &mut subscribers {
            subscriber.until(round * 2 * *keys).await;
        }
    }
    let records = quotes.records();
    for (channel, _, subscriber) in &subscribers {
        assert!(subscriber.skipped.is_empty(), "{channel}: {:?}", subscriber.skipped);
        subscriber.verify(&of_channel(channel, &records));
    }
}

async fn a_conflated_subscriber_at_a_tenth_of_the_pace_is_within_one_read_of_the_latest(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    // A subscriber that keeps up shows the node's progress; the node has the whole partition in
    // memory.
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&quotes.channel("key-0"), live()).await;
    let mut records = Vec::new();
    publish_to_1_000_keys(&quotes, &mut records, 10_000).await;
    until_newest(&mut watcher, &records).await;
    let mut readers = Vec::new();
    for wire in WIRES {
        let subscriber = Subscriber::connect_narrow(cluster.push[0].address(), wire).await;
        let start = position(&quotes.at("key-0", 0));
        let (subscriber, _) = ConflatedSubscriber::start(subscriber, &quotes.all(), start, 0.0).await;
        readers.push((subscriber, None));
    }

    for _ in 0..10 {
        for (subscriber, before) in &mut readers {
            let now = newest(&records);
            let first = subscriber.delivered.len();
            while subscriber.delivered.len() < first + READ {
                subscriber.message().await;
            }
            let Some(before) = before.replace(now) else { continue };
            for received in &subscriber.delivered[first..] {
                let latest: Option<&Offset> = before.get(&(received.partition, received.key.clone()));
                assert!(latest.is_some_and(|latest| received.offset >= *latest), "{latest:?}: {received:?}");
            }
        }
        publish_to_1_000_keys(&quotes, &mut records, READ * 10).await;
        until_newest(&mut watcher, &records).await;
    }
    for (mut subscriber, _) in readers {
        subscriber.until(records.len()).await;
        subscriber.verify(&records);
        let (delivered, all) = (subscriber.delivered.len(), records.len());
        assert!(
            delivered < all / 4,
            "{delivered} of {all} records were delivered to a subscriber that reads a tenth"
        );
    }
}

/// Publishes with 1,000 keys in turn, ending with the first, and returns the records in Kafka.
async fn publish_to_1_000_keys(topic: &Topic, records: &mut Vec<Record>, at_least: usize) {
    let first = records.len();
    let count = at_least.next_multiple_of(1_000);
    let of = |number: usize| (format!("key-{}", 999 - number % 1_000), format!("{number:0>80}"));
    topic.append((first..first + count).map(of)).await;
    records.extend((first..first + count).map(|number| {
        let (key, value) = of(number);
        Record {
            partition: PartitionId::new(0),
            offset: i64::try_from(number).ok().and_then(Offset::new).expect("it is an offset"),
            key: Some(Bytes::from(key)),
            value: Some(Bytes::from(value)),
        }
    }));
}

/// Waits until a lossless subscriber of the last published key has the newest record.
async fn until_newest(watcher: &mut Subscriber, records: &[Record]) {
    let newest = records.last().expect("something was published");
    while watcher.receive().await.offset < newest.offset {}
}

async fn a_conflated_subscriber_that_falls_out_of_the_window_gets_the_latest_from_kafka(broker: Broker) {
    let (cluster, quotes, mut subscriber, records) = fallen_out_of_the_window(&broker).await;

    subscriber.until(records.len()).await;

    subscriber.verify(&records);
    let read = cluster.push[0].metric("tailcast_push_catch_up_read_bytes_total");
    assert!(read > 0.0, "all of it was in memory");
    // It keeps up again; records for which it is late are skipped.
    cluster.publisher().publish(&quotes, "key-0", [1]).await;
    subscriber.until(records.len() + 1).await;
}

async fn records_that_retention_removes_behind_a_conflated_subscriber_are_reported(broker: Broker) {
    let (_cluster, quotes, mut subscriber, records) = fallen_out_of_the_window(&broker).await;

    quotes.delete_records_before(PartitionId::new(0), 29_000).await;
    subscriber.until_offset(records.last().expect("there are some").offset).await;

    subscriber.verify(&records);
    let of_retention = |skipped: &&Skipped| skipped.reason() == SkipReason::Retention;
    let gone: Vec<_> = subscriber.skipped.iter().filter(of_retention).collect();
    assert!(matches!(gone[..], [Skipped { next_offset: 29_000, .. }]), "{gone:?}");
}

/// Publishes 30,000 records while a conflated subscriber of a whole topic does not read. The node
/// keeps 100 KB of them, and 100 KB of pages from Kafka.
async fn fallen_out_of_the_window(broker: &Broker) -> (Cluster, Topic, ConflatedSubscriber, Vec<Record>) {
    let plan = Cluster::on(broker).set("push.windows.bytes_max", 100_000);
    let cluster = plan.set("push.catch_up.pages_bytes_max", 100_000).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&quotes.channel("key-0"), live()).await;
    let subscriber = Subscriber::connect_narrow(cluster.push[0].address(), Wire::Proto).await;
    let (subscriber, _) = ConflatedSubscriber::start(subscriber, &quotes.all(), live(), 0.0).await;
    let mut records = Vec::new();
    // First more than the kernel buffers, so that it stays behind.
    for count in [2_000, 28_000] {
        publish_to_1_000_keys(&quotes, &mut records, count).await;
        until_newest(&mut watcher, &records).await;
    }
    (cluster, quotes, subscriber, records)
}

async fn a_rate_limit_holds_for_each_key_and_the_latest_comes_in_the_end(broker: Broker) {
    const PER_SECOND: f64 = 10.0;
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 2).await;
    let began = Instant::now();
    let mut subscribers = Vec::new();
    for wire in WIRES {
        let subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
        let (subscriber, subscribed) =
            ConflatedSubscriber::start(subscriber, &quotes.all(), live(), PER_SECOND).await;
        assert!((subscribed.max_rate - PER_SECOND).abs() < f64::EPSILON, "{subscribed:?}");
        subscribers.push(subscriber);
    }

    let keys = ["AAPL", "MSFT", "GOOG"];
    for value in 0..300 {
        cluster.publisher().publish_all(keys.map(|key| message(&quotes, key, value)).into()).await;
    }
    let records = quotes.records();
    for mut subscriber in subscribers {
        subscriber.until(records.len()).await;
        let seconds = began.elapsed().as_secs_f64();
        subscriber.verify(&records);
        let mut by_key = BTreeMap::<_, usize>::new();
        for received in &subscriber.delivered {
            *by_key.entry(received.key.clone()).or_default() += 1;
        }
        // The first record of a key is delivered at once, and each later one a tenth of a second
        // after the previous one.
        let most = 1.0 + seconds * PER_SECOND;
        for (key, deliveries) in by_key {
            let deliveries = u32::try_from(deliveries).expect("there are 300 records");
            assert!(f64::from(deliveries) <= most, "{key:?}: {deliveries} deliveries in {seconds} s");
            assert!(deliveries > 1, "{key:?} came but once in {seconds} s");
        }
    }
}
