//! Opening a session, subprotocols, heartbeats and pings.

use std::collections::BTreeMap;

use tailcast_proto::push::v1::client_message::Command;
use tailcast_proto::push::v1::{ErrorCode, Heartbeat, Pong, frame};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::within;
use tailcast_tests::raw_socket::{Opcode, RawSocket, upgrade_request, whole};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{earliest, live};
use tailcast_tests::subscriber::{Subscriber, request};

tailcast_tests::scenarios! {
    everywhere {
        connect_carries_subscriptions_and_each_is_answered
        a_heartbeat_has_time_and_lag
        a_ping_is_answered
        an_upgrade_chooses_the_first_subprotocol_that_the_node_speaks
        a_session_starts_with_the_limits_of_the_node
        a_close_is_answered_with_its_code
    }
}

async fn connect_carries_subscriptions_and_each_is_answered(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 2).await;
    let missing = broker.name_topic("missing", 1);
    cluster.publisher().publish(&quotes, "AAPL", ["value"]).await;

    for wire in [Wire::Proto, Wire::Json] {
        let channels = [quotes.channel("MSFT"), missing.channel("AAPL"), quotes.channel("AAPL")];
        let subscriptions = channels.iter().map(|channel| request(channel, earliest())).collect();
        let (mut subscriber, _) =
            Subscriber::connect_with(cluster.push[0].address(), wire, subscriptions).await;

        let mut answers = BTreeMap::new();
        let mut values = Vec::new();
        while answers.len() < 3 || values.is_empty() {
            match subscriber.event().await {
                frame::Frame::Subscribed(subscribed) => {
                    answers.insert(subscribed.index, subscribed.name);
                }
                frame::Frame::Error(error) => {
                    answers.insert(error.index, error.code().as_str_name().to_owned());
                }
                frame::Frame::Delivery(delivery) => values.push(delivery.offset),
                other => panic!("unexpected: {other:?}"),
            }
        }
        let unknown = ErrorCode::UnknownTopic.as_str_name().to_owned();
        assert_eq!(
            answers,
            BTreeMap::from([(0, channels[0].clone()), (1, unknown), (2, channels[2].clone())])
        );
        assert_eq!(values, [0]);
    }
}

async fn a_heartbeat_has_time_and_lag(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.heartbeat_interval", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    let Heartbeat { server_time_ms, lag_records, .. } = subscriber.heartbeat().await;
    assert!(server_time_ms > 1_700_000_000_000, "{server_time_ms} is no time in milliseconds");
    assert_eq!(lag_records, 0);
    // Clients that cannot answer pings answer heartbeats; there is no reply.
    subscriber.send(Command::Pong(Pong {})).await;
    let later = subscriber.heartbeat().await;
    assert!(later.server_time_ms >= server_time_ms, "a node's clock advances");
}

async fn a_ping_is_answered(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let mut socket = RawSocket::open(cluster.push[0].address(), Wire::Proto).await;

    socket.send(&whole(Opcode::Ping, *b"are you there").encode()).await;

    let pong = within("a pong", socket.receive()).await;
    assert_eq!(pong, Some((10, b"are you there".to_vec())));
}

async fn an_upgrade_chooses_the_first_subprotocol_that_the_node_speaks(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    for (offered, chosen) in [
        ("tailcast.v1.proto", "tailcast.v1.proto"),
        ("tailcast.v1.json", "tailcast.v1.json"),
        ("tailcast.v9.proto, tailcast.v1.json, tailcast.v1.proto", "tailcast.v1.json"),
    ] {
        let (answer, _) = RawSocket::ask(cluster.push[0].address(), &upgrade_request(offered)).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), Some(chosen), "{answer:?}");
        // The example of RFC 6455, section 1.3.
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
}

async fn a_session_starts_with_the_limits_of_the_node(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.heartbeat_interval", "7s").start().await;

    let (_, connected) = Subscriber::connect_with(cluster.push[0].address(), Wire::Proto, Vec::new()).await;

    assert_eq!(connected.heartbeat_interval_ms, 7_000);
    assert!(!connected.node.is_empty() && !connected.session.is_empty(), "{connected:?}");
    let limits = connected.limits.expect("Connected carries limits");
    assert!(
        limits.message_bytes_max > 0 && limits.subscriptions_max > 0 && limits.key_bytes_max > 0,
        "{limits:?}"
    );
}

async fn a_close_is_answered_with_its_code(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let subscriber = cluster.subscriber(0).await;
    let closed = subscriber.leave().await;
    assert_eq!(closed.code, None, "a close without a code is answered without one: {closed:?}");

    let mut socket = RawSocket::open(cluster.push[0].address(), Wire::Proto).await;
    socket.send(&whole(Opcode::Close, 4000_u16.to_be_bytes()).encode()).await;
    assert_eq!(socket.closed().await.code, Some(4000));
}
