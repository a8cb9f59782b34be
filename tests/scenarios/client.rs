//! Tailcast's own client with real nodes: it stays subscribed when they end.

use std::time::Duration;

use tailcast_client::{Client, ConnectionOptions, Event, Options, Start, Subprotocol, Subscription};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::within;
use tailcast_tests::topic::Topic;

tailcast_tests::scenarios! {
    everywhere {
        the_client_continues_at_another_node_after_its_node_dies
        the_client_continues_at_another_node_when_its_node_drains
        the_client_speaks_both_subprotocols
    }
}

async fn the_client_continues_at_another_node_after_its_node_dies(broker: Broker) {
    let mut cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut client = subscribe(&cluster, &quotes, Subprotocol::Proto).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    expect(&mut client, 1..=3).await;

    cluster.push[0].kill();
    cluster.publisher().publish(&quotes, "AAPL", 4..=6).await;

    expect(&mut client, 4..=6).await;
    client.close().await;
}

async fn the_client_continues_at_another_node_when_its_node_drains(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).set("push.drain.spread", "200ms").start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut client = subscribe(&cluster, &quotes, Subprotocol::Proto).await;

    let publishing = async {
        for value in 0..300 {
            cluster.publisher().publish(&quotes, "AAPL", [value]).await;
            if value == 100 {
                cluster.push[0].drain();
            }
        }
    };
    tokio::join!(publishing, expect(&mut client, 0..300));

    cluster.push[0].drained().await;
    client.close().await;
}

async fn the_client_speaks_both_subprotocols(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    cluster.publisher().publish(&quotes, "AAPL", 1..=3).await;
    for subprotocol in [Subprotocol::Proto, Subprotocol::Json] {
        let mut client = subscribe(&cluster, &quotes, subprotocol).await;
        expect(&mut client, 1..=3).await;
        client.close().await;
    }
}

/// Subscribes to the key `AAPL` from its first record, at the first node, with the second as
/// another endpoint.
async fn subscribe(cluster: &Cluster, topic: &Topic, subprotocol: Subprotocol) -> Client {
    let url = |node: usize| format!("ws://{}/v1/connect", cluster.push[node].address());
    let options = Options {
        connection: ConnectionOptions { subprotocol, ..ConnectionOptions::default() },
        other_endpoints: vec![url(1).parse().expect("a node's address makes an endpoint")],
        backoff_first: Duration::from_millis(50),
        ..Options::default()
    };
    let client = Client::connect(&url(0), options).await.expect("the node accepts the client");
    let channel = topic.channel("AAPL").parse().expect("a channel's text form is a channel");
    client
        .subscribe(Subscription::to(channel).from(Start::Earliest))
        .await
        .expect("the client has not ended");
    client
}

/// Waits for deliveries with these values, in this order; other events may occur between them.
async fn expect(client: &mut Client, values: impl IntoIterator<Item = u32>) {
    for expected in values {
        let delivery = within(format_args!("a delivery of {expected}"), async {
            loop {
                match client.next().await.expect("the client has not ended") {
                    Event::Delivery(delivery) => return delivery,
                    event @ (Event::Skipped(_)
                    | Event::Unsubscribed(_)
                    | Event::Error(_)
                    | Event::Ended(_)) => {
                        panic!("expected a delivery of {expected}, got {event:?}")
                    }
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(delivery.value.as_deref(), Some(expected.to_string().as_bytes()), "{delivery:?}");
    }
}
