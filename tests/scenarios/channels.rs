//! The records of a channel: one key, the keys with a prefix, or a whole topic, in both
//! subprotocols.

use bytes::Bytes;
use tailcast_proto::ingest::v1::{Header, Message};
use tailcast_proto::push::v1::Subscribe;
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::publisher::message;
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{earliest, live};
use tailcast_tests::subscriber::{Received, Subscriber, request};

tailcast_tests::scenarios! {
    everywhere {
        an_exact_channel_shows_one_key
        a_prefix_channel_shows_the_keys_that_start_with_it
        a_whole_topic_shows_every_key_and_records_without_one
        channels_of_one_session_do_not_mix
        both_subprotocols_deliver_the_same
        a_tombstone_is_delivered_without_a_value
        bytes_that_are_not_text_arrive_unchanged
        headers_are_delivered_on_request
        an_unsubscribed_channel_is_quiet
    }
}

async fn an_exact_channel_shows_one_key(broker: Broker) {
    check(&broker, |topic| topic.channel("AAPL"), &["AAPL"]).await;
}

async fn a_prefix_channel_shows_the_keys_that_start_with_it(broker: Broker) {
    check(&broker, |topic| topic.prefix("AA"), &["AA", "AAL", "AAPL"]).await;
}

async fn a_whole_topic_shows_every_key_and_records_without_one(broker: Broker) {
    check(&broker, |topic| topic.all(), &["A", "AA", "AAL", "AAPL", "BA", "none"]).await;
}

/// Publishes with five keys and without a key, and checks which records the channel has.
async fn check(
    broker: &Broker,
    channel: impl Fn(&tailcast_tests::topic::Topic) -> String,
    expected: &[&str],
) {
    let cluster = Cluster::on(broker).start().await;
    let quotes = broker.create_topic("quotes", 3).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&channel(&quotes), live()).await;

    let with_key = ["A", "AA", "AAL", "AAPL", "BA"].map(|key| message(&quotes, key, key));
    let without = Message { key: None, ..message(&quotes, "", "none") };
    cluster.publisher().publish_all([&with_key[..], &[without]].concat()).await;

    let mut shown = Vec::new();
    for _ in expected {
        let received = subscriber.receive().await;
        let key = received.key.as_deref().map(String::from_utf8_lossy);
        if expected.len() > 1 {
            assert_eq!(
                key.as_deref().unwrap_or("none"),
                received.text(),
                "a delivery of a channel with several keys has its key"
            );
        } else {
            assert_eq!(key, None, "a delivery of a channel with one key has none");
        }
        shown.push(received.text().to_owned());
    }
    shown.sort();
    assert_eq!(shown, expected);
    // The next delivery is this one: no other was in flight.
    cluster.publisher().publish(&quotes, expected[0], ["end"]).await;
    subscriber.expect(["end"]).await;
}

async fn channels_of_one_session_do_not_mix(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let chat = broker.create_topic("chat", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    for channel in [quotes.channel("AAPL"), quotes.all(), chat.channel("lobby")] {
        subscriber.subscribe(&channel, live()).await;
    }

    cluster.publisher().publish(&quotes, "AAPL", ["quote"]).await;
    cluster.publisher().publish(&chat, "lobby", ["hello"]).await;

    let mut received: Vec<_> = Vec::new();
    for _ in 0..3 {
        let Received { channel, value, .. } = subscriber.receive().await;
        received.push((channel, value.expect("it has a value")));
    }
    received.sort();
    let mut expected = [
        (quotes.channel("AAPL"), Bytes::from("quote")),
        (quotes.all(), Bytes::from("quote")),
        (chat.channel("lobby"), Bytes::from("hello")),
    ];
    expected.sort();
    assert_eq!(received, expected);
}

async fn both_subprotocols_deliver_the_same(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let messages =
        (0..500).map(|value| message(&quotes, &format!("key-{}", value % 7), format!("{value} ü \"\n")));
    cluster.publisher().publish_all(messages.collect()).await;

    let mut received = Vec::new();
    for wire in [Wire::Proto, Wire::Json] {
        let mut subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
        subscriber.subscribe(&quotes.prefix("key-"), earliest()).await;
        let mut of_wire = Vec::new();
        for _ in 0..500 {
            of_wire.push(subscriber.receive().await);
        }
        received.push(of_wire);
    }

    assert_eq!(received[0], received[1]);
}

async fn a_tombstone_is_delivered_without_a_value(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let tombstone = Message { value: None, ..message(&quotes, "AAPL", "") };
    cluster.publisher().publish_all(vec![message(&quotes, "AAPL", ""), tombstone]).await;

    for wire in [Wire::Proto, Wire::Json] {
        let mut subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
        subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
        assert_eq!(subscriber.receive().await.value, Some(Bytes::new()), "an empty value is a value");
        assert_eq!(subscriber.receive().await.value, None);
    }
}

async fn bytes_that_are_not_text_arrive_unchanged(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let bytes: Bytes = (0..=255).collect();
    let odd = Message { key: Some(bytes.clone()), value: Some(bytes.clone()), ..message(&quotes, "", "") };
    cluster.publisher().publish_all(vec![odd]).await;
    // `*`, `%`, `/`, control characters and bytes that are not UTF-8 are percent-encoded in a
    // channel's text form.
    let channel = tailcast_proto::Channel {
        topic: quotes.name().clone(),
        keys: tailcast_proto::Keys::Exact(
            tailcast_proto::Key::new(bytes.clone()).expect("256 bytes are a key"),
        ),
    };

    for wire in [Wire::Proto, Wire::Json] {
        let mut subscriber = Subscriber::connect(cluster.push[0].address(), wire).await;
        subscriber.subscribe(&channel.to_string(), earliest()).await;
        subscriber.subscribe(&quotes.all(), earliest()).await;
        let received = [subscriber.receive().await, subscriber.receive().await];
        assert!(received.iter().all(|of| of.value.as_ref() == Some(&bytes)), "{received:?}");
        let of_topic =
            received.iter().find(|of| of.channel == quotes.all()).expect("one is of the whole topic");
        assert_eq!(of_topic.key.as_ref(), Some(&bytes));
    }
}

async fn headers_are_delivered_on_request(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let channel = quotes.channel("AAPL");
    let header =
        |name: &str, value: Option<&'static str>| Header { name: name.into(), value: value.map(Bytes::from) };
    let with_headers = Message {
        headers: vec![header("ce_type", Some("quote")), header("empty", Some("")), header("null", None)],
        content_type: "text/plain".into(),
        ..message(&quotes, "AAPL", 1)
    };
    cluster.publisher().publish_all(vec![with_headers]).await;

    let mut asking = cluster.subscriber(0).await;
    let asked = Subscribe { headers: true, ..request(&channel, earliest()) };
    asking.try_subscribe(asked).await.expect("headers can be requested");
    let headers = asking.receive().await.headers;
    let value =
        |name: &str| headers.iter().find(|header| header.name == name).map(|header| header.value.as_deref());
    assert_eq!(value("ce_type"), Some(Some(&b"quote"[..])), "{headers:?}");
    assert_eq!(value("empty"), Some(Some(&b""[..])), "{headers:?}");
    assert_eq!(value("null"), Some(None), "{headers:?}");
    assert_eq!(value("content-type"), Some(Some(&b"text/plain"[..])), "{headers:?}");

    let mut not_asking = cluster.subscriber(0).await;
    not_asking.subscribe(&channel, earliest()).await;
    assert_eq!(not_asking.receive().await.headers, []);
}

async fn an_unsubscribed_channel_is_quiet(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let quotes = broker.create_topic("quotes", 1).await;
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&quotes.channel("AAPL"), live()).await;
    subscriber.subscribe(&quotes.channel("MSFT"), live()).await;

    subscriber.unsubscribe(&quotes.channel("AAPL")).await.expect("it was subscribed");
    cluster.publisher().publish(&quotes, "AAPL", ["unseen"]).await;
    cluster.publisher().publish(&quotes, "MSFT", ["seen"]).await;

    subscriber.expect(["seen"]).await;
    subscriber.subscribe(&quotes.channel("AAPL"), earliest()).await;
    subscriber.expect(["unseen"]).await;
}
