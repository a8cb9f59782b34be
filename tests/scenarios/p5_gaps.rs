//! P5: no silent gap. Records that cannot be delivered are reported, with their offsets and the
//! reason.

use std::ops::Range;

use tailcast_proto::push::v1::{
    Error, ErrorCode, LostRange, Outcome, SkipReason, Skipped, Subscribed, UnsubscribeReason, Unsubscribed,
};
use tailcast_proto::{Epoch, Offset, PartitionId, Position};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::eventually;
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{earliest, live, position};
use tailcast_tests::subscriber::{Received, Subscriber, request};

/// A key that is not in partition 0 of 4.
const MOVING: &str = "AAPL";

tailcast_tests::scenarios! {
    everywhere {
        a_position_that_retention_has_passed_is_lost_with_its_range
        a_position_beyond_the_end_is_an_error
        a_position_of_another_epoch_is_an_error
    }
    apache_kafka {
        // The in-process broker cannot delete a topic.
        a_recreated_topic_ends_its_subscriptions_and_delivers_nothing_of_the_new_one
        a_deleted_topic_ends_its_subscriptions
        // The in-process broker cannot add partitions.
        records_of_added_partitions_are_not_missed
        a_key_that_moves_is_followed_and_nothing_in_its_old_partition_is_missed
        a_position_names_only_partitions_that_the_key_can_have_been_in
        // The in-process broker deletes records asynchronously.
        records_that_retention_removes_behind_a_subscriber_are_reported_once_and_later_ones_delivered
    }
}

async fn a_position_that_retention_has_passed_is_lost_with_its_range(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let partition = quotes.partition_of("AAPL");
    // 8 MB: the in-process broker keeps the last 5 MB; Apache Kafka deletes records on request.
    let values: Vec<_> = (0..80).map(|value| format!("{value} {}", "x".repeat(100_000))).collect();
    for value in &values {
        quotes.append([("AAPL", value)]).await;
    }
    if !broker.is_in_process() {
        quotes.delete_records_before(partition, 40).await;
    }
    let (first, end) = quotes.watermarks(partition);
    assert!(first > 10 && end == 80, "Kafka has {first}..{end}");

    let mut subscriber = cluster.subscriber(0).await;
    let subscribed = subscriber.subscribe(&quotes.channel("AAPL"), position(&quotes.at("AAPL", 10))).await;

    assert_eq!(subscribed.outcome(), Outcome::Lost, "{subscribed:?}");
    let lost = LostRange { partition: partition.get(), first_offset: 10, next_offset: first };
    assert_eq!(subscribed.lost, [lost]);
    let left = usize::try_from(first).expect("an offset is 0 or more");
    subscriber.expect(&values[left..]).await;
}

async fn a_position_beyond_the_end_is_an_error(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    let mut subscriber = cluster.subscriber(0).await;
    let channel = quotes.channel("AAPL");

    let error = subscriber.try_subscribe(request(&channel, position(&quotes.at("AAPL", 4)))).await;

    let error = error.expect_err("offset 4 is not there");
    assert_eq!(error.code(), ErrorCode::PositionBeyondEnd, "{error:?}");
    // The session continues.
    subscriber.subscribe(&channel, earliest()).await;
    subscriber.expect(1..=3).await;
}

async fn a_position_of_another_epoch_is_an_error(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    let mut subscriber = cluster.subscriber(0).await;

    let of_another = Position { epoch: Some(Epoch::from_bits(1, 2)), ..quotes.at("AAPL", 1) };
    let error = subscriber.try_subscribe(request(&quotes.channel("AAPL"), position(&of_another))).await;

    let error = error.expect_err("the topic has another epoch");
    assert_eq!(error.code(), ErrorCode::OtherEpoch, "{error:?}");
}

async fn a_recreated_topic_ends_its_subscriptions_and_delivers_nothing_of_the_new_one(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel, live()).await;
    quotes.append((1..=3).map(|value| ("AAPL", value))).await;
    subscriber.expect(1..=3).await;
    let of_the_old = subscriber.position(&channel);

    quotes.delete().await;
    broker.create(&quotes).await;
    // More than the old topic had: a consumer that does not compare epochs continues at offset 3.
    quotes.append((101..=110).map(|value| ("AAPL", value))).await;

    let (received, unsubscribed) = subscriber.until_unsubscribed().await;
    assert_eq!(received, [], "records of the new topic were delivered as records of the old one");
    let reason = unsubscribed.reason();
    let said = matches!(reason, UnsubscribeReason::TopicRecreated | UnsubscribeReason::TopicDeleted);
    assert!(said, "{unsubscribed:?}");
    let mut subscriber = cluster.subscriber(0).await;
    let error = subscriber.try_subscribe(request(&channel, position(&of_the_old))).await;
    assert_eq!(error.expect_err("the position is of the old topic").code(), ErrorCode::OtherEpoch);
    subscriber.subscribe(&channel, earliest()).await;
    subscriber.expect(101..=110).await;
}

async fn a_deleted_topic_ends_its_subscriptions(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    quotes.delete().await;

    let (_, unsubscribed) = subscriber.until_unsubscribed().await;
    assert_eq!(unsubscribed.reason(), UnsubscribeReason::TopicDeleted, "{unsubscribed:?}");
    assert_eq!(unsubscribed.name, quotes.channel("AAPL"));
}

async fn records_of_added_partitions_are_not_missed(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let mut quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.all(), live()).await;

    quotes.grow(4).await;
    // The node learns of the new partitions later than the publisher.
    quotes.append((0..100).map(|value| (format!("key-{value}"), value))).await;
    let (mut received, unsubscribed) = subscriber.until_unsubscribed().await;
    resubscribe(&mut subscriber, &unsubscribed).await;
    while received.len() < 100 {
        received.push(subscriber.receive().await);
    }

    let mut values: Vec<u32> = received.iter().map(|of| of.text().parse().expect("a number")).collect();
    values.sort_unstable();
    assert_eq!(values, (0..100).collect::<Vec<_>>());
}

async fn a_key_that_moves_is_followed_and_nothing_in_its_old_partition_is_missed(broker: Broker) {
    // The subscription continued in the new partition only. Records of the key that were left in
    // the old one, or written there by a producer that did not know the new one, were neither
    // delivered nor reported.
    let cluster = Cluster::on(&broker).push(2).set("push.topics.refresh", "500ms").start().await;
    let mut quotes = broker.create_topic("quotes", 1).await;
    let (channel, old) = (quotes.channel(MOVING), PartitionId::new(0));
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel, live()).await;
    let (left_at, mut received) = (subscriber.position(&channel), Vec::new());

    quotes.append_to(old, (0..10).map(|value| (MOVING, value))).await;
    quotes.grow(4).await;
    let new = quotes.partition_of(MOVING);
    assert_ne!(new, old, "{MOVING} does not move");
    quotes.append_to(new, (1_000..1_050).map(|value| (MOVING, value))).await;
    quotes.append_to(old, (10..50).map(|value| (MOVING, value))).await;
    let (before, unsubscribed) = subscriber.until_unsubscribed().await;
    received.extend(before);
    let subscribed = resubscribe(&mut subscriber, &unsubscribed).await;
    assert_eq!(subscribed.home_partition, Some(new.get()), "{subscribed:?}");
    quotes.append_to(old, (50..60).map(|value| (MOVING, value))).await;
    quotes.append_to(new, (1_050..1_060).map(|value| (MOVING, value))).await;

    // A subscriber that was away during all of this, at a node without any of it in memory.
    let mut away = cluster.subscriber(1).await;
    away.subscribe(&channel, position(&left_at)).await;
    for (mut subscriber, mut received) in [(subscriber, received), (away, Vec::new())] {
        while received.len() < 120 {
            received.push(subscriber.receive().await);
        }
        let of = |partition| received.iter().filter(move |of| of.partition == partition).map(Received::text);
        let expected = |values: Range<u32>| values.map(|value| value.to_string());
        assert!(of(old).eq(expected(0..60)), "of the old partition came {:?}", of(old).collect::<Vec<_>>());
        assert!(of(new).eq(expected(1_000..1_060)), "of the new one came {:?}", of(new).collect::<Vec<_>>());
    }
}

async fn a_position_names_only_partitions_that_the_key_can_have_been_in(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let mut quotes = broker.create_topic("quotes", 1).await;
    quotes.grow(4).await;
    let mut subscriber = cluster.subscriber(0).await;
    let at = |partition: PartitionId| {
        position(&Position { offsets: [(partition, Offset::ZERO)].into(), ..Position::default() })
    };
    let channel = quotes.channel(MOVING);

    let never = quotes.partition_never_of(MOVING);
    let error = subscriber.try_subscribe(request(&channel, at(never))).await;
    assert_eq!(error.expect_err("the key was never there").code(), ErrorCode::UnknownPartition);

    let subscribed = subscriber.subscribe(&channel, at(PartitionId::new(0))).await;
    assert_eq!(subscribed.home_partition, Some(quotes.partition_of(MOVING).get()), "{subscribed:?}");
    quotes.append_to(PartitionId::new(0), [(MOVING, "of the old one")]).await;
    subscriber.expect(["of the old one"]).await;
    quotes.append([(MOVING, "of the new one")]).await;
    subscriber.expect(["of the new one"]).await;
}

/// Subscribes again after partitions were added, like a client, from the last position.
async fn resubscribe(subscriber: &mut Subscriber, ended: &Unsubscribed) -> Subscribed {
    assert_eq!(ended.reason(), UnsubscribeReason::PartitionsAdded, "{ended:?}");
    let left_at = ended.position.clone().expect("Unsubscribed carries the position");
    let left_at = Position::try_from(left_at).expect("a node sends valid positions");
    let again = async || subscriber.try_subscribe(request(&ended.name, position(&left_at))).await;
    // Brokers learn of new partitions one by one, and the node may ask one that does not know them:
    // UNAVAILABLE, retry.
    let known =
        |answer: &Result<_, Error>| answer.as_ref().err().is_none_or(|e| e.code() != ErrorCode::Unavailable);
    eventually("the new partitions are known", again, known).await.expect("the topic has them")
}

async fn records_that_retention_removes_behind_a_subscriber_are_reported_once_and_later_ones_delivered(
    broker: Broker,
) {
    let plan = Cluster::on(&broker).set("push.windows.bytes_max", 100_000);
    let cluster = plan.set("push.catch_up.pages_bytes_max", 100_000).start().await;
    let (quotes, only) = (broker.create_topic("quotes", 1).await, PartitionId::new(0));
    let channel = quotes.channel("AAPL");
    let mut behind = Subscriber::connect_narrow(cluster.push[0].address(), Wire::Proto).await;
    behind.subscribe(&channel, live()).await;
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&channel, live()).await;

    // 1 MB in two parts, the first of which is more than the buffers for a client that does not
    // read.
    for values in [0..2_000, 2_000..10_000] {
        quotes.append(values.clone().map(|value| ("AAPL", format!("{value:0>100}")))).await;
        watcher.expect(values.map(|value| format!("{value:0>100}"))).await;
    }
    quotes.delete_records_before(only, 9_000).await;

    let (mut skipped, mut received) = (Vec::new(), Vec::new());
    while received.last().is_none_or(|of: &Received| of.offset.get() < 9_999) {
        let brought = behind.message().await;
        skipped.extend(brought.skipped);
        received.extend(brought.deliveries);
    }
    let [Skipped { first_offset: first, next_offset: 9_000, .. }] = skipped[..] else {
        panic!("expected one skip up to the first retained record: {skipped:?}")
    };
    assert_eq!(skipped[0].reason(), SkipReason::Retention, "{skipped:?}");
    assert!(first > 0 && first < 9_000, "{skipped:?}");
    let offsets = received.iter().map(|of| of.offset.get());
    assert!(
        offsets.eq((0..first).chain(9_000..10_000)),
        "{} records came around {skipped:?}",
        received.len()
    );
}
