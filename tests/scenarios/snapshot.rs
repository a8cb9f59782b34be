//! A snapshot: the latest record of each key, then all later records, without a gap between.

use std::cell::Cell;
use std::collections::BTreeMap;

use tailcast_proto::Position;
use tailcast_proto::ingest::v1::Message;
use tailcast_proto::push::v1::{ErrorCode, Outcome, SnapshotEnd};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::{Cluster, Plan};
use tailcast_tests::conflated::ConflatedSubscriber;
use tailcast_tests::deadline::eventually;
use tailcast_tests::publisher::message;
use tailcast_tests::record::{Record, newest, of_channel};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{position, snapshot};
use tailcast_tests::subscriber::{Received, Subscriber, request};
use tailcast_tests::topic::Topic;

tailcast_tests::scenarios! {
    everywhere {
        a_snapshot_has_the_latest_of_each_key_that_has_one
        records_published_during_a_snapshot_follow_it_without_gap_or_repetition
        a_conflated_snapshot_ends_with_the_latest_of_each_key
        a_subscription_resumes_from_where_its_snapshot_ended
        a_topic_with_too_many_last_values_refuses_snapshots_and_others_do_not
    }
}

const WIRES: [Wire; 2] = [Wire::Proto, Wire::Json];

async fn a_snapshot_has_the_latest_of_each_key_that_has_one(broker: Broker) {
    let quotes = broker.create_topic("quotes", 3).await;
    let cluster = keeping(&broker, &[&quotes]).start().await;
    let publish = |messages| cluster.publisher().publish_all(messages);
    for round in 0..3 {
        publish((0..100).map(|key| message(&quotes, &key_of(key), round)).collect()).await;
    }
    publish((0..100).step_by(4).map(|key| tombstone(&quotes, &key_of(key))).collect()).await;
    publish(vec![
        message(&quotes, &key_of(8), "again"),
        Message { key: None, ..message(&quotes, "", "none") },
    ])
    .await;
    let records = quotes.records();

    for wire in WIRES {
        let (gone, again, left) = (quotes.channel("AA-4"), quotes.channel("AA-8"), quotes.channel("BB-1"));
        for (channel, values) in
            [(gone, 0), (again, 1), (left, 1), (quotes.prefix("AA-"), 26), (quotes.all(), 76)]
        {
            let mut subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
            let subscribed = subscriber.subscribe(&channel, snapshot()).await;
            assert_eq!(subscribed.outcome(), Outcome::Snapshot, "{subscribed:?}");
            let (received, end) = subscriber.until_snapshot_end().await;
            assert_eq!(end.values, values, "{channel}");
            assert_is_snapshot(&received, &end, &of_channel(&channel, &records));
            let position = subscriber.position(&channel);
            for (partition, at) in &position.offsets {
                assert_eq!(at.get(), quotes.watermarks(*partition).1, "{channel} is at {position}");
            }
        }
    }
}

async fn records_published_during_a_snapshot_follow_it_without_gap_or_repetition(broker: Broker) {
    let quotes = broker.create_topic("quotes", 3).await;
    let cluster = keeping(&broker, &[&quotes]).start().await;
    fill(&cluster, &quotes).await;

    let updates = Updates::default();
    let subscribing = async {
        let mut subscribers = Vec::new();
        for wire in WIRES {
            for channel in [quotes.channel("AA-0"), quotes.prefix("AA-"), quotes.all()] {
                let mut subscriber = Subscriber::connect_narrow(cluster.push[0].address(), wire).await;
                subscriber.subscribe(&channel, snapshot()).await;
                updates.some_more().await;
                let (values, end) = subscriber.until_snapshot_end().await;
                subscribers.push((channel, subscriber, values, end));
            }
        }
        updates.are_enough.set(true);
        subscribers
    };
    let ((), subscribers) = tokio::join!(updates.publish(&cluster, &quotes), subscribing);

    let records = quotes.records();
    for (channel, mut subscriber, values, end) in subscribers {
        let records = of_channel(&channel, &records);
        assert_is_snapshot(&values, &end, &records);
        let ended = parse(&end);
        let after: Vec<_> = records.iter().filter(|of| ended.offsets[&of.partition] <= of.offset).collect();
        // The subscriber has checked that each partition is complete and in order.
        let mut came: Vec<_> = Vec::new();
        for _ in &after {
            let received = subscriber.receive().await;
            came.push((received.partition, received.offset, received.value));
        }
        came.sort();
        let after: Vec<_> = after.into_iter().map(|of| (of.partition, of.offset, of.value.clone())).collect();
        assert!(came == after, "{channel}: {} of {} are not the same", came.len(), after.len());
    }
}

async fn a_conflated_snapshot_ends_with_the_latest_of_each_key(broker: Broker) {
    let quotes = broker.create_topic("quotes", 3).await;
    let cluster = keeping(&broker, &[&quotes]).start().await;
    fill(&cluster, &quotes).await;

    let updates = Updates::default();
    let subscribing = async {
        let mut subscribers = Vec::new();
        for (wire, max_rate) in [(Wire::Proto, 0.0), (Wire::Json, 0.0), (Wire::Proto, 5.0)] {
            let subscriber = Subscriber::connect_narrow(cluster.push[0].address(), wire).await;
            let started = ConflatedSubscriber::start(subscriber, &quotes.all(), snapshot(), max_rate).await;
            let (mut subscriber, subscribed) = started;
            assert_eq!(subscribed.outcome(), Outcome::Snapshot, "{subscribed:?}");
            updates.some_more().await;
            let ended = subscriber.until_snapshot_end().await.clone();
            subscribers.push((subscriber, ended));
        }
        updates.are_enough.set(true);
        subscribers
    };
    let ((), subscribers) = tokio::join!(updates.publish(&cluster, &quotes), subscribing);

    let records = quotes.records();
    for (mut subscriber, ended) in subscribers {
        let after = records.iter().filter(|of| ended.offsets[&of.partition] <= of.offset).count();
        subscriber.until(after).await;
        subscriber.verify(&records);
        let mut last = BTreeMap::new();
        for received in subscriber.values.iter().chain(&subscriber.delivered) {
            last.insert(received.key.clone(), (received.offset, received.value.clone()));
        }
        let by_place: BTreeMap<_, _> = records.iter().map(|of| ((of.partition, of.offset), of)).collect();
        for ((partition, key), offset) in newest(&records) {
            let record = by_place[&(partition, offset)];
            let known = last.get(&key).map(|(_, value)| value);
            // A client that never had the key need not get its tombstone.
            let is_told = known == Some(&record.value) || known.is_none() && record.value.is_none();
            assert!(is_told, "of {key:?} the client has {known:?}, and Kafka {record:?}");
        }
    }
}

async fn a_subscription_resumes_from_where_its_snapshot_ended(broker: Broker) {
    let quotes = broker.create_topic("quotes", 3).await;
    let cluster = keeping(&broker, &[&quotes]).push(2).start().await;
    fill(&cluster, &quotes).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AA-0"), snapshot()).await;
    let (values, _) = subscriber.until_snapshot_end().await;
    assert_eq!(values.len(), 1, "{values:?}");
    let left_at = subscriber.position(&quotes.channel("AA-0"));
    subscriber.leave().await;

    cluster.publisher().publish(&quotes, "AA-0", 1..=3).await;

    for node in [0, 1] {
        let mut subscriber = cluster.subscriber(node).await;
        let subscribed = subscriber.subscribe(&quotes.channel("AA-0"), position(&left_at)).await;
        assert_eq!(subscribed.outcome(), Outcome::Resumed, "{subscribed:?}");
        subscriber.expect(1..=3).await;
    }
}

async fn a_topic_with_too_many_last_values_refuses_snapshots_and_others_do_not(broker: Broker) {
    let few = broker.create_topic("few", 1).await;
    let many = broker.create_topic("many", 1).await;
    few.append([("AAPL", 1), ("AAPL", 2)]).await;
    many.append((0..2_000).map(|value| (key_of(value), value))).await;
    let plan = keeping(&broker, &[&few, &many]).set("push.last_values.bytes_max", 100_000);
    let cluster = plan.start().await;
    let mut subscriber = cluster.subscriber(0).await;

    for channel in [many.all(), many.channel(&key_of(0)), many.prefix("AA")] {
        let error = subscriber.try_subscribe(request(&channel, snapshot())).await.expect_err("too many");
        assert_eq!((error.code(), &*error.field), (ErrorCode::NoLastValues, "start.snapshot"), "{error:?}");
    }

    subscriber.subscribe(&few.all(), snapshot()).await;
    let (values, _) = subscriber.until_snapshot_end().await;
    assert!(values.iter().map(Received::text).eq(["2"]), "{values:?}");
    cluster.publisher().publish(&few, "AAPL", [3]).await;
    subscriber.expect([3]).await;
}

/// Checks that the snapshot has the latest record of each key before its end.
#[track_caller]
fn assert_is_snapshot(received: &[Received], end: &SnapshotEnd, records: &[Record]) {
    let ended = parse(end);
    let before = |of: &&Record| of.offset < ended.offsets[&of.partition];
    // A record without a key is not in a snapshot.
    let before: Vec<_> = records.iter().filter(before).filter(|of| of.key.is_some()).collect();
    let came: BTreeMap<_, _> =
        received.iter().map(|of| ((of.partition, of.offset), of.value.clone())).collect();
    let published: BTreeMap<_, _> = before.iter().map(|of| ((of.partition, of.offset), *of)).collect();
    for (place, value) in &came {
        assert_eq!(published.get(place).map(|of| &of.value), Some(value), "{place:?} differs from Kafka");
    }
    for ((partition, key), offset) in newest(before) {
        let place = (partition, offset);
        let is_there = came.contains_key(&place) || published[&place].value.is_none();
        assert!(is_there, "the latest of {key:?}, at {place:?}, is not in the snapshot");
    }
}

/// Publishes with 3,000 keys: more than fit into one message.
async fn fill(cluster: &Cluster, topic: &Topic) {
    let value = |key: u32| format!("{key:0>100}");
    cluster
        .publisher()
        .publish_all((0..3_000).map(|key| message(topic, &key_of(key), value(key))).collect())
        .await;
}

/// The records that are published while snapshots are delivered.
#[derive(Default)]
struct Updates {
    published: Cell<u32>,
    are_enough: Cell<bool>,
}

impl Updates {
    /// Publishes more records, some of them tombstones, until there are enough.
    async fn publish(&self, cluster: &Cluster, topic: &Topic) {
        while !self.are_enough.get() {
            let update = self.published.get();
            let keys = (0..20).map(|number| key_of((update * 20 + number) * 7 % 3_000));
            let mut messages: Vec<_> = keys.map(|key| message(topic, &key, update)).collect();
            messages.push(tombstone(topic, &key_of(update * 11 % 3_000)));
            messages.push(message(topic, &key_of(0), update));
            cluster.publisher().publish_all(messages).await;
            self.published.set(update + 1);
        }
    }

    /// Waits until more records are published. A subscriber that does not read meanwhile is in the
    /// middle of its snapshot, which is larger than the buffers of the kernel and the node.
    async fn some_more(&self) {
        let enough = self.published.get() + 5;
        let published = async || self.published.get();
        let _published = eventually("more is published", published, |published| *published >= enough).await;
    }
}

/// Describes a cluster that keeps the last values of topics.
fn keeping(broker: &Broker, topics: &[&Topic]) -> Plan {
    topics.iter().fold(Cluster::on(broker), |plan, topic| {
        plan.set(&format!("push.topic.{}.last_values", topic.name()), true)
    })
}

fn key_of(number: u32) -> String {
    format!("{}-{number}", if number.is_multiple_of(2) { "AA" } else { "BB" })
}

fn tombstone(topic: &Topic, key: &str) -> Message {
    Message { value: None, ..message(topic, key, "") }
}

fn parse(end: &SnapshotEnd) -> Position {
    let position = end.position.clone().expect("SnapshotEnd carries the position");
    Position::try_from(position).expect("a node sends valid positions")
}
