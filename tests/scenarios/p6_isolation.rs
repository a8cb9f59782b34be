//! P6: one client cannot slow, grow or kill another's stream.

use std::time::{Duration, Instant};

use tailcast_proto::Position;
use tailcast_proto::push::v1::UnsubscribeReason;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::eventually;
use tailcast_tests::raw_socket::RawSocket;
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{earliest, live, position};

tailcast_tests::scenarios! {
    everywhere {
        a_client_that_does_not_read_holds_nobody_up_and_misses_nothing
        a_client_that_falls_out_of_the_window_catches_up_from_kafka
        a_client_that_reads_nothing_for_too_long_is_closed_as_slow
        at_the_limit_of_buffered_bytes_slow_clients_are_closed_and_others_continue
        a_client_that_falls_too_far_behind_is_closed_with_its_position
        a_resume_that_starts_far_behind_is_not_slow
        catching_up_keeps_to_its_rate
        a_client_that_breaks_the_protocol_ends_alone
    }
}

async fn a_client_that_does_not_read_holds_nobody_up_and_misses_nothing(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.write_deadline", "5m").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut stalled = cluster.subscriber(0).await;
    stalled.subscribe(&channel, live()).await;
    let mut quick = cluster.subscriber(0).await;
    quick.subscribe(&channel, live()).await;

    // 4 MB: more than the socket buffers between a node and a client that does not read.
    let values: Vec<_> = (0..400).map(|value| format!("{value} {}", "x".repeat(10_000))).collect();
    tokio::join!(cluster.publisher().publish(&quotes, "AAPL", &values), quick.expect(&values));

    stalled.expect(&values).await;
}

async fn a_client_that_falls_out_of_the_window_catches_up_from_kafka(broker: Broker) {
    let bytes_max = 1_000_000;
    let plan = Cluster::on(&broker).set("push.windows.bytes_max", bytes_max);
    let cluster = plan.set("push.sessions.write_deadline", "5m").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut stalled = cluster.subscriber(0).await;
    stalled.subscribe(&channel, live()).await;
    let mut quick = cluster.subscriber(0).await;
    quick.subscribe(&channel, live()).await;

    let values: Vec<_> = (0..400).map(|value| format!("{value} {}", "x".repeat(10_000))).collect();
    tokio::join!(cluster.publisher().publish(&quotes, "AAPL", &values), quick.expect(&values));

    let held = cluster.push[0].metric("tailcast_push_windows_bytes");
    assert!(held > 0.0 && held <= f64::from(bytes_max), "{held} bytes are held, of {bytes_max}");
    stalled.expect(&values).await;
}

async fn a_client_that_reads_nothing_for_too_long_is_closed_as_slow(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.write_deadline", "500ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut stalled = cluster.subscriber(0).await;
    stalled.subscribe(&quotes.channel("AAPL"), live()).await;

    // 20 MB: more than the kernel buffers for a client that does not read.
    let values: Vec<_> = (0..400).map(|value| format!("{value} {}", "x".repeat(50_000))).collect();
    quotes.append(values.iter().map(|value| ("AAPL", value))).await;

    let closes = async || cluster.push[0].metric_with("tailcast_push_closes_total", "code=\"4508\"");
    let _closes = eventually("the session is closed as slow", closes, |closes| *closes >= 1.0).await;
}

async fn at_the_limit_of_buffered_bytes_slow_clients_are_closed_and_others_continue(broker: Broker) {
    let bytes_max = 200_000;
    let plan = Cluster::on(&broker).set("push.sessions.waiting_bytes_max", bytes_max);
    let plan =
        plan.set("push.sessions.write_deadline", "5m").set("push.sessions.heartbeat_interval", "500ms");
    let cluster = plan.start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut subscriber = cluster.subscriber(0).await;
        subscriber.subscribe(&channel, live()).await;
        stalled.push(subscriber);
    }
    let mut quick = cluster.subscriber(0).await;
    quick.subscribe(&channel, live()).await;

    // 4 MB for each of them; a socket buffers a tenth of that.
    let values: Vec<_> = (0..400).map(|value| format!("{value} {}", "x".repeat(10_000))).collect();
    tokio::join!(cluster.publisher().publish(&quotes, "AAPL", &values), quick.expect(&values));

    let closes = async || cluster.push[0].metric_with("tailcast_push_closes_total", "code=\"4508\"");
    let _closes = eventually("some sessions are closed", closes, |closes| *closes >= 1.0).await;
    let waiting = async || cluster.push[0].metric("tailcast_push_waiting_bytes");
    let waits = eventually("the buffered bytes are within the limit", waiting, |bytes| {
        *bytes <= f64::from(bytes_max)
    })
    .await;
    assert!(waits > 0.0, "bytes are buffered for clients that do not read");
    drop(stalled);
    eventually("nothing is buffered for closed sessions", waiting, |bytes| *bytes == 0.0).await;
}

async fn a_client_that_falls_too_far_behind_is_closed_with_its_position(broker: Broker) {
    let plan = Cluster::on(&broker).push(2).set("push.sessions.lag_records_max", 100);
    let plan =
        plan.set("push.sessions.heartbeat_interval", "200ms").set("push.sessions.write_deadline", "5m");
    let cluster = plan.start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let mut slow = cluster.subscriber(0).await;
    slow.subscribe(&channel, live()).await;
    let values: Vec<_> = (0..400).map(|value| format!("{value} {}", "x".repeat(10_000))).collect();
    cluster.publisher().publish(&quotes, "AAPL", &values[..1]).await;
    slow.expect(&values[..1]).await;

    cluster.publisher().publish(&quotes, "AAPL", &values[1..]).await;

    // When its subscriptions are no longer counted, the node is closing the session, and waits
    // shortly for the client to read its positions.
    let subscriptions = async || cluster.push[0].metric("tailcast_push_subscriptions");
    eventually("the session is closing", subscriptions, |subscriptions| *subscriptions == 0.0).await;
    let (received, ended) = slow.until_unsubscribed().await;
    assert_eq!(ended.reason(), UnsubscribeReason::Closing);
    let closed = slow.closed().await;
    assert_eq!((closed.code, closed.reason.contains("lag limit exceeded")), (Some(4508), true), "{closed:?}");

    let at = ended.position.and_then(|at| Position::try_from(at).ok()).expect("it has a position");
    let mut resumed = cluster.subscriber(1).await;
    resumed.subscribe(&channel, position(&at)).await;
    resumed.expect(&values[1 + received.len()..]).await;
}

async fn a_resume_that_starts_far_behind_is_not_slow(broker: Broker) {
    let plan = Cluster::on(&broker).set("push.sessions.lag_records_max", 10);
    let cluster = plan.set("push.sessions.heartbeat_interval", "50ms").start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    cluster.publisher().publish(&quotes, "AAPL", 0..3_000).await;

    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
    subscriber.expect(0..3_000).await;
}

async fn catching_up_keeps_to_its_rate(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.catch_up.bytes_per_second_max", 1_000_000).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let values: Vec<_> = (0..300).map(|value| format!("{value} {}", "x".repeat(10_000))).collect();
    cluster.publisher().publish(&quotes, "AAPL", &values).await;

    let begun = Instant::now();
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
    subscriber.expect(&values).await;

    // 3 MB. A page is charged after it was read, so one page of each of the two readers is not
    // limited.
    let (took, paused) =
        (begun.elapsed(), cluster.push[0].metric("tailcast_push_catch_up_paused_seconds_total"));
    assert!(took >= Duration::from_secs(2), "{took:?} is too fast");
    assert!(paused >= 2.0, "the readers were paused for {paused} s only");
}

async fn a_client_that_breaks_the_protocol_ends_alone(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    let mut broken = RawSocket::open(cluster.push[0].address(), Wire::Proto).await;
    broken.send(&[0xff; 64]).await;
    assert_eq!(broken.closed().await.code, Some(1002));

    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    subscriber.expect(1..=3).await;
}
