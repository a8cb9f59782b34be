//! Kafka may start later than the nodes, or become unavailable for some time, and a topic may be
//! created after a node's start.

use tailcast_proto::push::v1::ErrorCode;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::{Cluster, Plan};
use tailcast_tests::deadline::eventually;
use tailcast_tests::publisher::message;
use tailcast_tests::start::{earliest, live};
use tailcast_tests::subscriber::request;

tailcast_tests::scenarios! {
    everywhere {
        subscribers_keep_their_sockets_while_kafka_is_gone_and_catch_up
        nodes_that_start_before_kafka_wait_for_it
        a_topic_created_after_the_nodes_started_is_served
    }
}

async fn subscribers_keep_their_sockets_while_kafka_is_gone_and_catch_up(broker: Broker) {
    let broker = broker.of_its_own();
    // The subscriber does not read, and so answers no ping, while Kafka restarts.
    let cluster = looking_often(Cluster::on(&broker)).set("push.sessions.ping_interval", "5m").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;

    broker.go_down();
    cluster.push[0].in_trouble().await;
    broker.come_back();

    for node in cluster.ingest.iter().chain(&cluster.push) {
        node.well().await;
    }
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;
    subscriber.expect(4..=6).await;
}

async fn nodes_that_start_before_kafka_wait_for_it(broker: Broker) {
    let broker = broker.of_its_own();
    let quotes = broker.create_topic("quotes", 1).await;
    broker.go_down();

    let cluster = looking_often(Cluster::on(&broker)).launch();
    let state = cluster.push[0].not_ready().await;
    assert!(format!("{state}").contains("kafka"), "the report names Kafka: {state}");
    cluster.ingest[0].not_ready().await;
    broker.come_back();

    for node in cluster.ingest.iter().chain(&cluster.push) {
        node.ready().await;
    }
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;
}

/// By default nodes refresh topics every ten seconds, which is too long for a scenario.
fn looking_often(plan: Plan) -> Plan {
    plan.set("ingest.topics.refresh", "500ms").set("push.topics.refresh", "500ms")
}

async fn a_topic_created_after_the_nodes_started_is_served(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.name_topic("quotes", 2);
    let channel = quotes.channel("AAPL");
    let mut subscriber = cluster.subscriber(0).await;
    let error =
        subscriber.try_subscribe(request(&channel, live())).await.expect_err("there is no such topic");
    assert_eq!(error.code(), ErrorCode::UnknownTopic, "{error:?}");

    broker.create(&quotes).await;

    let publish = async || cluster.publisher().try_publish(vec![message(&quotes, "AAPL", "first")]).await;
    let _outcomes = eventually("the new topic takes a message", publish, |outcome| {
        use tailcast_proto::ingest::v1::outcome::Result::Acknowledged;
        matches!(outcome.as_deref(), Ok([Acknowledged(_)]))
    })
    .await;
    let _subscribed = eventually(
        "the new topic can be subscribed to",
        async || subscriber.try_subscribe(request(&channel, earliest())).await,
        Result::is_ok,
    )
    .await;
    subscriber.expect(["first"]).await;
}
