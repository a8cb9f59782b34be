//! P7: a node that is asked to end finishes what it accepted, tells its clients when to come back, and loses nothing.

use tailcast_proto::Position;
use tailcast_proto::push::v1::{UnsubscribeReason, frame};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::eventually;
use tailcast_tests::publisher::{Publisher, message};
use tailcast_tests::socket::{Socket, Wire};
use tailcast_tests::start::{live, position};
use tailcast_tests::subscriber::Subscriber;
use tonic::Code;

tailcast_tests::scenarios! {
    everywhere {
        a_draining_push_node_tells_its_clients_when_to_reconnect_and_closes
        a_draining_push_node_closes_with_the_position_of_each_subscription
        a_draining_push_node_accepts_nobody
        a_rolling_restart_loses_and_repeats_nothing
        a_draining_ingest_node_answers_what_it_accepted_and_takes_no_more
    }
}

async fn a_draining_push_node_tells_its_clients_when_to_reconnect_and_closes(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.drain.spread", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    cluster.push[0].drain();

    match subscriber.event().await {
        frame::Frame::Goaway(goaway) => assert!(goaway.deadline_ms > 0, "{goaway:?}"),
        other => panic!("expected Goaway, got {other:?}"),
    }
    let closed = subscriber.closed().await;
    assert!(matches!(closed.code, Some(1001 | 1012 | 4503)), "{closed:?}");
    cluster.push[0].drained().await;
}

async fn a_draining_push_node_closes_with_the_position_of_each_subscription(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).set("push.drain.spread", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let channels = [quotes.channel("AAPL"), quotes.all()];
    let mut subscriber = cluster.subscriber(0).await;
    for channel in &channels {
        subscriber.subscribe(channel, live()).await;
    }
    cluster.publisher().publish(&quotes, "AAPL", 0..10).await;
    for _ in 0..20 {
        subscriber.receive().await;
    }

    cluster.push[0].drain();

    let goaway = subscriber.event().await;
    assert!(matches!(goaway, frame::Frame::Goaway(_)), "{goaway:?}");
    let mut next = cluster.subscriber(1).await;
    for channel in &channels {
        let (late, ended) = subscriber.until_unsubscribed().await;
        assert_eq!((late.len(), &ended.name), (0, channel));
        assert_eq!(ended.reason(), UnsubscribeReason::Closing);
        let at = ended.position.and_then(|at| Position::try_from(at).ok()).expect("it has a position");
        next.subscribe(channel, position(&at)).await;
    }
    assert_eq!(subscriber.closed().await.code, Some(4503));
    cluster.publisher().publish(&quotes, "AAPL", [10]).await;
    next.expect([10, 10]).await;
}

async fn a_draining_push_node_accepts_nobody(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;

    cluster.push[0].drain();
    cluster.push[0].drained().await;

    let refused = Socket::open(cluster.push[0].address(), Wire::Proto).await;
    assert!(refused.is_err(), "a drained node took a client");
    assert!(!cluster.push[0].state().is_ready());
}

async fn a_rolling_restart_loses_and_repeats_nothing(broker: Broker) {
    let cluster = Cluster::on(&broker).push(3).set("push.drain.spread", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let channel = quotes.channel("AAPL");
    let publishing = async {
        for value in 0..450 {
            cluster.publisher().publish(&quotes, "AAPL", [value]).await;
        }
    };
    let subscribing = async {
        let mut at = quotes.at("AAPL", 0);
        let mut values = 0..450;
        for node in &cluster.push {
            let mut subscriber = Subscriber::connect(node.address(), Wire::Proto).await;
            subscriber.subscribe(&channel, position(&at)).await;
            subscriber.expect(values.by_ref().take(150)).await;
            node.drain();
            // The node delivers until it closes. What it does after this is resumed from the next one all the same.
            at = subscriber.position(&channel);
        }
    };
    tokio::join!(publishing, subscribing);
    for node in &cluster.push {
        node.drained().await;
    }
}

async fn a_draining_ingest_node_answers_what_it_accepted_and_takes_no_more(broker: Broker) {
    let broker = broker.of_its_own();
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let node = &cluster.ingest[0];
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;

    // Without an answer of Kafka the batch waits, and so is surely accepted when the drain begins.
    broker.stall();
    let publishing = cluster.publisher().publish(&quotes, "AAPL", 0..500);
    let draining = async {
        let in_flight = async || node.metric("tailcast_ingest_in_flight_messages");
        let _messages = eventually("the batch is in flight", in_flight, |messages| *messages >= 500.0).await;
        node.drain();
        broker.go_on();
    };
    tokio::join!(publishing, draining);
    node.drained().await;

    assert_eq!(quotes.records().len(), 501);
    let late = Publisher::to(node.address()).try_publish(vec![message(&quotes, "AAPL", "late")]).await;
    assert_eq!(late.expect_err("the node has ended").code(), Code::Unavailable);
}
