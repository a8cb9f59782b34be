//! P7: a node that drains finishes accepted work, tells its clients when to reconnect, and loses
//! nothing.

use std::time::{Duration, Instant};

use tailcast_proto::Position;
use tailcast_proto::push::v1::{UnsubscribeReason, frame};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::{eventually, within};
use tailcast_tests::publisher::{Publisher, message};
use tailcast_tests::raw_socket::{RawSocket, upgrade_request};
use tailcast_tests::socket::{Socket, Wire};
use tailcast_tests::start::{live, position};
use tailcast_tests::subscriber::Subscriber;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

tailcast_tests::scenarios! {
    everywhere {
        a_draining_push_node_sends_each_client_a_time_to_reconnect_and_closes
        a_draining_push_node_closes_with_the_position_of_each_subscription
        a_draining_push_node_accepts_nobody
        a_rolling_restart_loses_and_repeats_nothing
        stuck_clients_and_unfinished_requests_do_not_delay_a_drain
        an_upgrade_that_began_before_a_drain_is_refused_with_a_retry_time
        a_draining_ingest_node_answers_accepted_calls_and_refuses_new_ones
    }
    in_process {}
    apache_kafka {
        // The in-process broker has no topic ids.
        a_topic_recreated_during_a_drain_is_not_delivered_as_the_old_one
    }
}

async fn a_draining_push_node_sends_each_client_a_time_to_reconnect_and_closes(broker: Broker) {
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
    assert!(refused.is_err(), "a drained node accepted a client");
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
            // The node delivers until it closes. Later records are resumed from the next node.
            at = subscriber.position(&channel);
        }
    };
    tokio::join!(publishing, subscribing);
    for node in &cluster.push {
        node.drained().await;
    }
}

async fn stuck_clients_and_unfinished_requests_do_not_delay_a_drain(broker: Broker) {
    let plan = Cluster::on(&broker).set("push.drain.spread", "500ms");
    let cluster = plan.set("push.sessions.write_deadline", "5m").start().await;
    let (node, quotes) = (&cluster.push[0], broker.create_topic("quotes", 1).await);
    let mut stays = cluster.subscriber(0).await;
    stays.subscribe(&quotes.channel("quiet"), live()).await;
    let mut stalled = Subscriber::connect_narrow(node.address(), Wire::Proto).await;
    stalled.subscribe(&quotes.channel("AAPL"), live()).await;
    let values: Vec<_> = (0..40).map(|value| format!("{value} {}", "x".repeat(50_000))).collect();
    quotes.append(values.iter().map(|value| ("AAPL", value))).await;
    let waiting = async || node.metric("tailcast_push_waiting_bytes");
    eventually("a client does not read", waiting, |bytes| *bytes > 0.0).await;
    let mut unconnected = RawSocket::open(node.address(), Wire::Proto).await;
    let mut half = TcpStream::connect(node.address()).await.expect("the node listens");
    half.write_all(b"GET /v1/connect HTTP/1.1\r\nHost: no").await.expect("the node reads");
    let request = "GET /nothing HTTP/1.1\r\nHost: node\r\n\r\n";
    let (answer, kept_alive) = RawSocket::ask(node.address(), request).await;
    assert_eq!(answer.status, 404);

    let begun = Instant::now();
    node.drain();
    assert_eq!(unconnected.closed().await.code, Some(4503));
    node.drained().await;

    // The spread, two seconds for sending the close frame, and two for the client's.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}, of 25 s that a process may take");
    assert_eq!(node.metric_with("tailcast_push_closes_total", "code=\"4503\""), 3.0);
    drop((stays, stalled, half, kept_alive));
}

async fn an_upgrade_that_began_before_a_drain_is_refused_with_a_retry_time(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let node = &cluster.push[0];
    let request = upgrade_request("tailcast.v1.proto");
    let (first, rest) = request.split_at(40);
    let mut stream = TcpStream::connect(node.address()).await.expect("the node listens");
    stream.write_all(first.as_bytes()).await.expect("the node reads");
    // An answer to a later connection: the node has accepted the earlier one.
    let (answer, _) = RawSocket::ask(node.address(), "GET /nothing HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert_eq!(answer.status, 404);

    node.drain();
    stream.write_all(rest.as_bytes()).await.expect("the node reads");

    let mut answer = String::new();
    let read = within("an answer", stream.read_to_string(&mut answer)).await;
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    assert!(answer.to_ascii_lowercase().contains("retry-after: "), "{answer:?}");
    node.drained().await;
}

async fn a_topic_recreated_during_a_drain_is_not_delivered_as_the_old_one(broker: Broker) {
    // While the node drained, it did not check epochs, and delivered the records of a recreated
    // topic.
    let cluster = Cluster::on(&broker).set("push.drain.spread", "1m").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    quotes.append((1..=3).map(|value| ("AAPL", value))).await;
    subscriber.expect(1..=3).await;

    // Each client gets its own time, which is at least a tenth of the spread.
    cluster.push[0].drain();
    let goaway = subscriber.event().await;
    assert!(matches!(goaway, frame::Frame::Goaway(_)), "{goaway:?}");
    quotes.delete().await;
    broker.create(&quotes).await;
    quotes.append((101..=110).map(|value| ("AAPL", value))).await;

    let (received, unsubscribed) = subscriber.until_unsubscribed().await;
    assert_eq!(received, [], "records of the new topic came as those of the old");
    assert_eq!(unsubscribed.reason(), UnsubscribeReason::TopicRecreated);
}

async fn a_draining_ingest_node_answers_accepted_calls_and_refuses_new_ones(broker: Broker) {
    let broker = broker.of_its_own();
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let node = &cluster.ingest[0];
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;

    // While Kafka does not answer the batch is in flight, so it is accepted when the drain begins.
    broker.stall();
    let publishing = cluster.publisher().publish(&quotes, "AAPL", 0..500);
    let draining = async {
        let in_flight = async || node.metric("tailcast_ingest_in_flight_messages");
        let _messages = eventually("the batch is in flight", in_flight, |messages| *messages >= 500.0).await;
        node.drain();
        broker.resume();
    };
    tokio::join!(publishing, draining);
    node.drained().await;

    assert_eq!(quotes.records().len(), 501);
    let late = Publisher::to(node.address()).try_publish(vec![message(&quotes, "AAPL", "late")]).await;
    assert_eq!(late.expect_err("the node has ended").code(), Code::Unavailable);
}
