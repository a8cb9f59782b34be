//! P3: on one connection the offsets of a partition only grow, so the order of each key holds.
//!
//! Every subscriber of every scenario fails if an offset does not grow. These scenarios are the
//! hardest cases.

use futures_util::future::join_all;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::start::{earliest, live};

tailcast_tests::scenarios! {
    everywhere {
        offsets_of_a_partition_only_grow_on_one_connection
        records_of_a_key_come_in_the_order_of_their_publish
        under_load_one_message_carries_several_deliveries
        subscribers_of_one_channel_receive_the_same_records
    }
}

async fn offsets_of_a_partition_only_grow_on_one_connection(broker: Broker) {
    let cluster = Cluster::on(&broker).ingest(2).start().await;
    let quotes = broker.create_topic("quotes", 4).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.all(), live()).await;

    let publishers = (0..8).map(|publisher| {
        let key = format!("key-{publisher}");
        let (cluster, quotes) = (&cluster, &quotes);
        async move { cluster.publisher_at(publisher % 2).publish(quotes, &key, 0..500).await }
    });
    let (_acknowledged, received) = tokio::join!(join_all(publishers), async {
        let mut received = Vec::new();
        for _ in 0..8 * 500 {
            received.push(subscriber.receive().await);
        }
        received
    });

    let mut received: Vec<_> =
        received.into_iter().map(|of| (of.partition, of.offset, of.key, of.value)).collect();
    // The subscriber has checked the order in each partition; there is no order between partitions.
    received.sort_by_key(|(partition, ..)| *partition);
    let records: Vec<_> =
        quotes.records().into_iter().map(|of| (of.partition, of.offset, of.key, of.value)).collect();
    assert!(received == records, "the deliveries differ from the records in Kafka");
}

async fn records_of_a_key_come_in_the_order_of_their_publish(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    tokio::join!(cluster.publisher().publish(&quotes, "AAPL", 1..=2_000), subscriber.expect(1..=2_000));
}

async fn under_load_one_message_carries_several_deliveries(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;

    // The socket is not read meanwhile.
    cluster.publisher().publish(&quotes, "AAPL", 1..=5_000).await;
    subscriber.expect(1..=5_000).await;

    let messages = subscriber.deliveries_per_message();
    assert!(messages.len() < 2_500, "5000 deliveries came in {} messages", messages.len());
}

async fn subscribers_of_one_channel_receive_the_same_records(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let channel = quotes.channel("AAPL");

    let mut first = cluster.subscriber(0).await;
    first.subscribe(&channel, live()).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    let mut second = cluster.subscriber(0).await;
    second.subscribe(&channel, earliest()).await;
    let mut third = cluster.subscriber(1).await;
    third.subscribe(&channel, earliest()).await;
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    for subscriber in [&mut first, &mut second, &mut third] {
        subscriber.expect(1..=6).await;
    }
}
