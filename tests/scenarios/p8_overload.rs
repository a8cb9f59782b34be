//! P8: overload is refused early, and accepted work stays fast.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use tailcast_proto::push::v1::{ClientMessage, Connect, client_message::Command};
use tailcast_services::memory::resident_bytes;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::eventually;
use tailcast_tests::publisher::message;
use tailcast_tests::raw_socket::{Opcode, RawSocket, upgrade_request, whole};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::live;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic_types::StatusExt as _;

tailcast_tests::scenarios! {
    everywhere {
        at_the_bound_of_messages_in_flight_a_call_is_refused_with_a_retry_time
        at_the_bound_of_sessions_an_upgrade_is_refused_with_a_retry_time
    }
    in_process {
        // The listener before the first byte does not depend on Kafka.
        at_the_bound_of_handshakes_the_oldest_silent_connection_makes_room
        // The memory limit does not depend on Kafka, and this takes a lot of memory.
        above_the_memory_limit_new_sessions_are_refused_and_existing_ones_are_served
    }
}

async fn at_the_bound_of_messages_in_flight_a_call_is_refused_with_a_retry_time(broker: Broker) {
    let broker = broker.of_its_own();
    let plan =
        Cluster::on(&broker).push(0).set("ingest.in_flight_messages_max", 2_000).set("ingest.deadline", "5s");
    let cluster = plan.start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", ["before"]).await;
    broker.stall();

    let publisher = cluster.publisher();
    let filling =
        join_all((0..4).map(|_| publisher.try_publish(vec![message(&quotes, "AAPL", "waits"); 500])));
    let refused = async {
        let in_flight = async || cluster.ingest[0].metric("tailcast_ingest_in_flight_messages");
        let _messages = eventually("the limit is reached", in_flight, |messages| *messages >= 2_000.0).await;
        publisher.try_publish(vec![message(&quotes, "AAPL", "too many")]).await
    };
    let (_outcomes, refused) = tokio::join!(filling, refused);

    let status = refused.expect_err("it was refused");
    let retry = status.get_details_retry_info().unwrap_or_else(|| panic!("RetryInfo is missing: {status:?}"));
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()), "{retry:?}");
    broker.resume();
    let publish = async || cluster.publisher().try_publish(vec![message(&quotes, "AAPL", "after")]).await;
    let _outcomes = eventually("there is room again", publish, Result::is_ok).await;
}

async fn at_the_bound_of_sessions_an_upgrade_is_refused_with_a_retry_time(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.count_max", 2).start().await;
    let first = cluster.subscriber(0).await;
    let _second = cluster.subscriber(0).await;

    let (answer, _) = RawSocket::ask(cluster.push[0].address(), &upgrade_request("tailcast.v1.proto")).await;

    assert_eq!(answer.status, 503, "{answer:?}");
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
    first.leave().await;
    let upgrade =
        async || RawSocket::ask(cluster.push[0].address(), &upgrade_request("tailcast.v1.proto")).await.0;
    eventually("a place is free again", upgrade, |answer| answer.status == 101).await;
}

async fn at_the_bound_of_handshakes_the_oldest_silent_connection_makes_room(broker: Broker) {
    // Silent connections at the limit blocked all others until the first of them timed out after 10
    // s.
    const HANDSHAKES_MAX: usize = 8;
    let cluster = Cluster::on(&broker).set("push.sessions.handshakes_max", HANDSHAKES_MAX).start().await;
    let node = &cluster.push[0];
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        silent.push(TcpStream::connect(node.address()).await.expect("it listens"));
    }

    let request = upgrade_request("tailcast.v1.proto");
    let asked = tokio::time::timeout(Duration::from_secs(5), RawSocket::ask(node.address(), &request));
    let (answer, _) = asked.await.expect("a client that sends a request is served");

    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(node.metric_with("tailcast_push_refused_total", "reason=\"silent\"") >= 1.0);
    let end = silent[0].read(&mut [0]).await;
    assert!(matches!(end, Ok(0)), "the oldest is closed: {end:?}");
    let newest = &silent[HANDSHAKES_MAX - 1];
    let still = newest.try_read(&mut [0]).expect_err("the newest is not closed");
    assert_eq!(still.kind(), std::io::ErrorKind::WouldBlock);
}

async fn above_the_memory_limit_new_sessions_are_refused_and_existing_ones_are_served(broker: Broker) {
    // Other scenarios run in this process, so the limit is far above their memory, and the ballast
    // far above the limit.
    let bytes_max = resident_bytes().expect("the kernel reports it") + (1 << 29);
    let plan = Cluster::on(&broker).set("push.memory_bytes_max", bytes_max);
    let cluster = plan.set("push.sessions.connect_deadline", "1m").start().await;
    let (node, quotes) = (&cluster.push[0], broker.create_topic("quotes", 1).await);
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    let mut upgraded = RawSocket::open(node.address(), Wire::Proto).await;
    let request = upgrade_request("tailcast.v1.proto");
    let upgrade = async || RawSocket::ask(node.address(), &request).await.0;

    let ballast = std::hint::black_box(vec![1_u8; 1 << 30]);
    let refused = eventually("an upgrade is refused", upgrade, |answer| answer.status == 503).await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(node.metric_with("tailcast_push_refused_total", "reason=\"memory\"") >= 1.0);

    let connect = ClientMessage { id: 1, command: Some(Command::Connect(Connect::default())) };
    upgraded.send(&whole(Opcode::Binary, connect.encode_to_vec()).encode()).await;
    assert_eq!(upgraded.closed().await.code, Some(4529));
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;

    drop(ballast);
    eventually("there is memory again", upgrade, |answer| answer.status == 101).await;
}
