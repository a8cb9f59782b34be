//! P5 for conflated subscribers that resume: the latest record of each key and the number of
//! skipped ones, not the history.

use tailcast_proto::{Offset, PartitionId, Position};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::conflated::ConflatedSubscriber;
use tailcast_tests::record::{newest, of_channel};
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{live, position};
use tailcast_tests::subscriber::{Received, Subscriber};

tailcast_tests::scenarios! {
    everywhere {
        a_conflated_subscriber_that_resumes_gets_the_latest_of_each_key_and_not_the_history
        a_short_history_does_not_come_on_resume_either
    }
}

async fn a_conflated_subscriber_that_resumes_gets_the_latest_of_each_key_and_not_the_history(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    // Node 0 has all records in memory, and node 1 must read them from Kafka.
    let mut watcher = cluster.subscriber(0).await;
    for key in ["A", "B", "C", "D", "E"] {
        watcher.subscribe(&quotes.channel(key), live()).await;
    }
    let key = |number: usize| match number % 3 {
        0 => "HOT".to_owned(),
        1 => format!("AA-{}", number % 50),
        _ => format!("BB-{}", number % 50),
    };
    quotes.append((0..9_000).map(|number| (key(number), format!("{number:0>100}")))).await;
    // The last record of each partition.
    for key in ["A", "B", "C", "D", "E"] {
        quotes.append([(key, "")]).await;
    }
    watcher.expect([""; 5]).await;
    let (records, start) = (quotes.records(), Offset::ZERO);

    for channel in [quotes.channel("HOT"), quotes.prefix("AA-"), quotes.all()] {
        let of_channel = of_channel(&channel, &records);
        let latest = newest(&of_channel);
        let partitions: Vec<_> = match channel == quotes.channel("HOT") {
            true => vec![quotes.partition_of("HOT")],
            false => (0..3).map(PartitionId::new).collect(),
        };
        let start = position(&Position {
            offsets: partitions.iter().map(|partition| (*partition, start)).collect(),
            ..Position::default()
        });
        for (node, wire) in [(0, Wire::Proto), (0, Wire::Json), (1, Wire::Proto), (1, Wire::Json)] {
            let subscriber = Subscriber::connect(cluster.push[node].address(), wire).await;
            let (mut subscriber, _) =
                ConflatedSubscriber::start(subscriber, &channel, start.clone(), 0.0).await;
            subscriber.until(of_channel.len()).await;
            subscriber.verify(&of_channel);
            let places = subscriber.delivered.iter().map(|received| (received.partition, received.offset));
            let mut places: Vec<_> = places.collect();
            places.sort();
            let mut expected: Vec<_> = latest.iter().map(|((partition, _), at)| (*partition, *at)).collect();
            expected.sort();
            assert_eq!(places, expected, "{channel} on node {node} in {wire:?}");
            subscriber.leave().await;
        }
    }
}

async fn a_short_history_does_not_come_on_resume_either(broker: Broker) {
    // It did, while the history was in memory and fitted into one message.
    let cluster = Cluster::on(&broker).push(2).start().await;
    let chat = broker.create_topic("chat", 1).await;
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&chat.channel("lobby"), live()).await;
    chat.append((0..20).map(|value| ("lobby", value))).await;
    watcher.expect(0..20).await;

    for node in [0, 1] {
        let (subscriber, start) = (cluster.subscriber(node).await, position(&chat.at("lobby", 5)));
        let (mut subscriber, _) =
            ConflatedSubscriber::start(subscriber, &chat.channel("lobby"), start, 0.0).await;
        subscriber.until(15).await;
        let values: Vec<_> = subscriber.delivered.iter().map(Received::text).collect();
        assert_eq!(values, ["19"], "node {node}");
    }
}
