//! P8 for a node without processor time: unread records stay in Kafka, and the node reports its
//! lag.

use tailcast_tests::broker::Broker;
use tailcast_tests::deadline::eventually;
use tailcast_tests::process::{Process, Signal};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::live;
use tailcast_tests::subscriber::Subscriber;

tailcast_tests::scenarios! {
    everywhere {}
    apache_kafka {
        // The command does not run on the in-process broker, which keeps 5 MB of a partition.
        a_feed_that_cannot_keep_up_shows_as_lag_and_never_as_growth
    }
}

async fn a_feed_that_cannot_keep_up_shows_as_lag_and_never_as_growth(broker: Broker) {
    let quotes = broker.create_topic("quotes", 1).await;
    let values = [("push.windows.bytes_max", "16777216"), ("push.sessions.heartbeat_interval", "500ms")];
    let anywhere = ([127, 0, 0, 1], 0).into();
    let node = Process::push(env!("CARGO_BIN_EXE_tailcast-of-scenarios"), &broker, anywhere, &values).await;
    let mut subscriber = Subscriber::connect(node.address(), Wire::Proto).await;
    let quiet = quotes.channel("QUIET");
    subscriber.subscribe(&quiet, live()).await;
    quotes.append([("QUIET", "before")]).await;
    subscriber.expect(["before"]).await;
    let before = node.peak_memory_bytes();

    node.signal(Signal::Stop);
    let value = "x".repeat(2_000);
    quotes.append((0..100_000).map(|_| ("BUSY", &value))).await;
    let lag = async || node.metric("tailcast_push_lag_records").await;
    // It runs just long enough to answer, so that it does not catch up between two requests.
    let slice = async || {
        node.signal(Signal::Continue);
        let lag = lag().await;
        node.signal(Signal::Stop);
        lag
    };
    let most = eventually("the node reports a lag", slice, |lag| *lag > 0.0).await;
    assert!(most <= 100_000.0, "{most} records are more than there are");
    node.signal(Signal::Continue);
    let _none = eventually("the node has caught up", lag, |lag| *lag == 0.0).await;
    subscriber.expect_progress(&quiet, quotes.partition_of("QUIET"), 100_001).await;
    quotes.append([("QUIET", "after")]).await;
    subscriber.expect(["after"]).await;
    // 16 MiB of windows, 32 MiB of librdkafka's queue, and as much again for data in flight. 200 MB
    // were published.
    let grown = node.peak_memory_bytes() - before;
    assert!(grown < 96 << 20, "the node grew by {grown} bytes");
}
