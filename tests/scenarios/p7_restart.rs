//! P7 with processes: nodes are restarted one by one while clients stay subscribed.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tailcast_client::{Cause, Client, Close, Event, Options, Reconnecting, Start, Subscription};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::deadline::within;
use tailcast_tests::held_address::HeldAddress;
use tailcast_tests::process::{Process, Signal};
use tailcast_tests::publisher::message;
use tailcast_tests::topic::Topic;
use tokio::time::{MissedTickBehavior, interval};

tailcast_tests::scenarios! {
    everywhere {}
    apache_kafka {
        // The command does not run on the in-process broker.
        five_rolling_restarts_of_three_nodes_under_load_lose_and_repeat_nothing
    }
}

const CLIENTS: usize = 200;
const KEYS: usize = 20;
/// Interval between messages of a key: 200 messages per second in total, of which each client
/// gets 10.
const PACE: Duration = Duration::from_millis(100);

async fn five_rolling_restarts_of_three_nodes_under_load_lose_and_repeat_nothing(broker: Broker) {
    let cluster = Cluster::on(&broker).push(0).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    // A node restarts at the same address, which must stay reserved meanwhile.
    let addresses = [(); 3].map(|()| HeldAddress::take());
    let mut nodes = Vec::new();
    for held in &addresses {
        nodes.push(start(&broker, held.address()).await);
    }
    let urls: Vec<_> = nodes.iter().map(|node| format!("ws://{}/v1/connect", node.address())).collect();
    let clients = join_all((0..CLIENTS).map(|number| subscribe(number, &urls, &quotes))).await;

    let is_done = Cell::new(false);
    let restarting = async {
        for _round in 0..5 {
            for (number, held) in addresses.iter().enumerate() {
                let node = nodes.remove(number);
                node.signal(Signal::Terminate);
                node.ended().await;
                nodes.insert(number, start(&broker, held.address()).await);
            }
        }
        is_done.set(true);
    };
    let publishing = async {
        let mut paces = interval(PACE);
        paces.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for value in 0.. {
            paces.tick().await;
            let value = if is_done.get() { "end".to_owned() } else { value.to_string() };
            let messages = (0..KEYS).map(|key| message(&quotes, &key_of(key), &value)).collect();
            cluster.publisher().publish_all(messages).await;
            if value == "end" {
                return;
            }
        }
    };
    let watching = join_all(clients.into_iter().map(watch));
    let ((), (), watched) = tokio::join!(restarting, publishing, watching);

    let moves: usize = watched.iter().map(|watched| watched.moves).sum();
    assert!(moves > 0, "no client moved to another node without an interruption");
    let unasked: Vec<_> = watched.into_iter().flat_map(|watched| watched.unasked).collect();
    assert!(unasked.is_empty(), "connections ended although no node was draining: {unasked:#?}");
}

async fn start(broker: &Broker, listen: SocketAddr) -> Process {
    let program = env!("CARGO_BIN_EXE_tailcast-of-scenarios");
    Process::push(program, broker, listen, &[("push.drain.spread", "300ms")]).await
}

/// Subscribes to a key from its first record, at one of the nodes and with the others as further
/// endpoints.
async fn subscribe(number: usize, urls: &[String], topic: &Topic) -> Client {
    let first = number % urls.len();
    let others = urls[first + 1..].iter().chain(&urls[..first]);
    let options = Options {
        other_endpoints: others.map(|url| url.parse().expect("it is an endpoint")).collect(),
        backoff_first: Duration::from_millis(50),
        backoff_max: Duration::from_millis(500),
        ..Options::default()
    };
    let client = Client::connect(&urls[first], options).await.expect("the node accepts the client");
    let channel = topic.channel(&key_of(number % KEYS)).parse().expect("a channel's text form is a channel");
    client
        .subscribe(Subscription::to(channel).from(Start::Earliest))
        .await
        .expect("the client has not ended");
    client
}

/// How the connections of a client ended.
#[derive(Default)]
struct Watched {
    /// Number of moves without an interruption.
    moves: usize,
    /// The ends for which no node had asked.
    unasked: Vec<Cause>,
}

/// Reads to the end, and checks that every value is delivered once and in order.
async fn watch(mut client: Client) -> Watched {
    let mut watched = Watched::default();
    let mut values = 0..;
    loop {
        match within("an event", client.next()).await.expect("the client has not ended") {
            Event::Delivery(delivery) => {
                let value = delivery.value.as_deref().map(String::from_utf8_lossy).expect("it has a value");
                if value == "end" {
                    break;
                }
                assert_eq!(Some(value.into_owned()), values.next().map(|value: u32| value.to_string()));
            }
            Event::Moved(_) => watched.moves += 1,
            // Further attempts may reach a node that is restarting.
            Event::Reconnecting(Reconnecting { cause, attempt: 1, .. }) => match cause {
                Cause::Goaway(_) | Cause::Closed(Close { code: 4503, .. }) => {}
                cause => watched.unasked.push(cause),
            },
            event @ (Event::Skipped(_) | Event::Unsubscribed(_) | Event::Error(_) | Event::Ended(_)) => {
                panic!("unexpected event: {event:?}")
            }
            _ => {}
        }
    }
    client.close().await;
    watched
}

fn key_of(number: usize) -> String {
    format!("key-{number}")
}
