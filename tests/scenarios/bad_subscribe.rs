//! Invalid commands: each is answered with an error, and the session continues.

use tailcast_proto::push::v1::{
    AllKeys, Channel, DeliveryMode, ErrorCode, PartitionOffset, Position, Start, Subscribe, channel, start,
    subscribe,
};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::start::{live, snapshot};
use tailcast_tests::subscriber::{Subscriber, request};

tailcast_tests::scenarios! {
    everywhere {
        a_channel_that_is_none_is_answered_with_the_reason
        a_position_that_is_none_is_answered_with_the_field
        a_rate_limit_goes_with_conflation_only
        a_snapshot_of_a_topic_without_last_values_is_an_error
        subscribing_twice_is_an_error_and_the_first_subscription_continues
        unsubscribing_an_unknown_channel_is_an_error
        more_subscriptions_than_allowed_are_refused
    }
}

/// Subscribes, and checks the error's code, field and a part of its detail; then that the session
/// continues.
async fn check(subscriber: &mut Subscriber, request: Subscribe, code: ErrorCode, field: &str, detail: &str) {
    let shown = format!("{request:?}");
    let error = subscriber.try_subscribe(request).await.expect_err(&shown);
    assert_eq!(error.code(), code, "{shown}: {error:?}");
    assert_eq!(error.field, field, "{shown}: {error:?}");
    assert!(error.detail.contains(detail), "{shown}: {error:?}");
}

async fn a_channel_that_is_none_is_answered_with_the_reason(broker: Broker) {
    use ErrorCode::{InvalidArgument, UnknownTopic};
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    let missing = broker.name_topic("missing", 1);

    for (name, code, detail) in [
        (missing.channel("AAPL").as_str(), UnknownTopic, missing.name().as_ref()),
        ("__consumer_offsets/*", InvalidArgument, "__"),
        (&format!("{}/key", "t".repeat(250)), InvalidArgument, "249"),
        ("quötes/key", InvalidArgument, "'ö' at byte 2"),
        ("../key", InvalidArgument, ".."),
        ("quotes", InvalidArgument, "topic/key"),
        ("quotes/", InvalidArgument, "key"),
        ("quotes/100%", InvalidArgument, "%"),
    ] {
        check(&mut subscriber, request(name, live()), code, "name", detail).await;
    }
    check(&mut subscriber, Subscribe::default(), InvalidArgument, "channel", "").await;
    let parts = |topic: &str, keys| Subscribe {
        target: Some(subscribe::Target::Channel(Channel { topic: topic.to_owned(), keys })),
        ..Subscribe::default()
    };
    let all = || Some(channel::Keys::All(AllKeys {}));
    let topic = quotes.name().as_ref();
    check(&mut subscriber, parts("", all()), InvalidArgument, "channel.topic", "1").await;
    check(&mut subscriber, parts(topic, None), InvalidArgument, "channel.keys", "").await;
    let empty = || Default::default();
    check(
        &mut subscriber,
        parts(topic, Some(channel::Keys::Key(empty()))),
        InvalidArgument,
        "channel.key",
        "1",
    )
    .await;
    let prefix = parts(topic, Some(channel::Keys::Prefix(empty())));
    check(&mut subscriber, prefix, InvalidArgument, "channel.prefix", "1").await;

    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
}

async fn a_position_that_is_none_is_answered_with_the_field(broker: Broker) {
    use ErrorCode::{InvalidArgument, UnknownPartition};
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut subscriber = cluster.subscriber(0).await;
    let of_key = quotes.partition_of("AAPL").get();
    let never = quotes.partition_never_of("AAPL").get();
    let at = |epoch: &str, offsets: &[(u32, i64)]| Subscribe {
        start: Some(Start {
            at: Some(start::At::Position(Position {
                epoch: epoch.to_owned(),
                offsets: offsets
                    .iter()
                    .map(|&(partition, offset)| PartitionOffset { partition, offset })
                    .collect(),
                partition_count: 0,
            })),
        }),
        ..request(&quotes.channel("AAPL"), live())
    };
    let partition = "start.position.offsets[0].partition";
    let offset = "start.position.offsets[0].offset";

    check(&mut subscriber, at("", &[(7, 0)]), UnknownPartition, partition, "7").await;
    check(&mut subscriber, at("", &[(never, 0)]), UnknownPartition, partition, "").await;
    check(&mut subscriber, at("", &[(u32::MAX, 0)]), InvalidArgument, partition, "4294967295").await;
    check(&mut subscriber, at("", &[(of_key, -1)]), InvalidArgument, offset, "-1").await;
    check(
        &mut subscriber,
        at("not an epoch", &[(of_key, 0)]),
        InvalidArgument,
        "start.position.epoch",
        "epoch",
    )
    .await;
    let twice = "start.position.offsets[1].partition";
    check(&mut subscriber, at("", &[(of_key, 0), (of_key, 1)]), InvalidArgument, twice, "twice").await;

    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
}

async fn a_rate_limit_goes_with_conflation_only(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    let asked =
        |mode: i32, max_rate| Subscribe { mode, max_rate, ..request(&quotes.channel("AAPL"), live()) };
    let (lossless, conflated) = (DeliveryMode::Lossless.into(), DeliveryMode::Conflated.into());

    let invalid = ErrorCode::InvalidArgument;
    check(&mut subscriber, asked(0, 2.5), invalid, "max_rate", "CONFLATED").await;
    check(&mut subscriber, asked(lossless, 2.5), invalid, "max_rate", "CONFLATED").await;
    check(&mut subscriber, asked(conflated, -1.0), invalid, "max_rate", "-1").await;
    check(&mut subscriber, asked(conflated, f64::NAN), invalid, "max_rate", "NaN").await;
    check(&mut subscriber, asked(conflated, 1_001.0), invalid, "max_rate", "1000").await;
    check(&mut subscriber, asked(conflated, 0.000_1), invalid, "max_rate", "0.1").await;
    check(&mut subscriber, asked(77, 0.0), invalid, "mode", "77").await;

    let subscribed = subscriber.try_subscribe(asked(conflated, 2.5)).await.expect("that is allowed");
    assert_eq!((subscribed.mode(), subscribed.max_rate), (DeliveryMode::Conflated, 2.5));
}

async fn a_snapshot_of_a_topic_without_last_values_is_an_error(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;

    let snapshot = request(&quotes.channel("AAPL"), snapshot());
    let topic = quotes.name().as_ref();
    check(&mut subscriber, snapshot, ErrorCode::NoLastValues, "start.snapshot", topic).await;

    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
}

async fn subscribing_twice_is_an_error_and_the_first_subscription_continues(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    let channel = quotes.channel("AAPL");
    subscriber.subscribe(&channel, live()).await;

    let again = subscriber.try_subscribe(request(&channel, live())).await;

    assert_eq!(again.expect_err("it is subscribed").code(), ErrorCode::AlreadySubscribed);
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;
}

async fn unsubscribing_an_unknown_channel_is_an_error(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;

    let error = subscriber.unsubscribe(&quotes.channel("AAPL")).await;

    assert_eq!(error.expect_err("it was not subscribed").code(), ErrorCode::NotSubscribed);
}

async fn more_subscriptions_than_allowed_are_refused(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.subscriptions_max", "2").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    for key in ["AAPL", "MSFT"] {
        subscriber.subscribe(&quotes.channel(key), live()).await;
    }

    let third = subscriber.try_subscribe(request(&quotes.channel("GOOG"), live())).await;

    assert_eq!(third.expect_err("two are allowed").code(), ErrorCode::TooManySubscriptions);
    subscriber.unsubscribe(&quotes.channel("AAPL")).await.expect("it was subscribed");
    subscriber.subscribe(&quotes.channel("GOOG"), live()).await;
}
