//! A client whose node drains, dies, falls silent, refuses or violates the protocol.

mod leaving;

mod modes;

mod node;

use std::time::Duration;

use tailcast_client::{
    Cause, Client, ConnectError, Connection, ConnectionOptions, Ended, Event, OpenError, Options,
    Subprotocol, SubscribeError, Subscription,
};
use tailcast_proto::{Channel, push::v1};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use self::node::{Node, PATIENCE, Session, delivery};

fn channel(name: &str) -> Channel {
    name.parse().expect("a channel")
}

/// Options with waits short enough for a test.
fn hasty() -> Options {
    Options {
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..Options::default()
    }
}

async fn connect(node: &Node, options: Options) -> (Client, Session) {
    let url = node.url();
    let (client, session) = tokio::join!(Client::connect(&url, options), node.welcome());
    (client.expect("the node answers"), session)
}

/// Returns a client of the node with a subscription to `quotes/A` at `0:5` under alias 1.
async fn subscribed(node: &Node, options: Options) -> (Client, Session) {
    let (mut client, mut session) = connect(node, options).await;
    client.subscribe(Subscription::to(channel("quotes/A"))).await.expect("it is the first");
    session.subscribe(1, "0:5").await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    (client, session)
}

async fn next(client: &mut Client) -> Event {
    timeout(PATIENCE, client.next())
        .await
        .expect("an event arrives in time")
        .expect("the client has not ended")
}

#[track_caller]
fn offset(event: &Event) -> i64 {
    let Event::Delivery(delivery) = event else { panic!("{event:?} is no delivery") };
    delivery.offset.get()
}

#[track_caller]
fn cause(event: Event) -> Cause {
    let Event::Reconnecting(reconnecting) = event else { panic!("{event:?} is no reconnecting") };
    reconnecting.cause
}

/// Follows a client to its next session, where it must resume at `position`.
async fn resumes(client: &mut Client, node: &Node, position: &str) -> Session {
    let mut session = node.welcome().await;
    assert_eq!(session.positions(), [position]);
    session.subscribed(session.id, 0, 7, position).await;
    assert!(matches!(next(client).await, Event::Reconnected(_)));
    assert!(matches!(next(client).await, Event::Subscribed(_)));
    session
}

#[tokio::test]
async fn a_client_resumes_where_it_was_after_its_node_drains() {
    let node = Node::start().await;
    let (mut client, mut session) = subscribed(&node, hasty()).await;
    session.send_frames([delivery(1, 5), delivery(1, 9)]).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    assert_eq!(offset(&next(&mut client).await), 9);
    session.close(4503, "draining").await;
    assert!(matches!(cause(next(&mut client).await), Cause::Closed(close) if close.code == 4503));

    let mut session = resumes(&mut client, &node, "0:10").await;
    session.deliver(7, 10).await;
    assert_eq!(offset(&next(&mut client).await), 10);
    assert_eq!(client.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("0:11"));
}

#[tokio::test]
async fn a_client_resumes_after_its_node_vanishes() {
    let node = Node::start().await;
    let (mut client, mut session) = subscribed(&node, hasty()).await;
    session.deliver(1, 5).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    drop(session);
    assert!(matches!(cause(next(&mut client).await), Cause::Lost(_)));
    resumes(&mut client, &node, "0:6").await;
}

#[tokio::test]
async fn a_client_leaves_a_node_that_falls_silent() {
    let mut node = Node::start().await;
    node.heartbeat_interval_ms = 20;
    let (mut client, _silent) = subscribed(&node, hasty()).await;
    assert_eq!(cause(next(&mut client).await), Cause::Silent);
    node.heartbeat_interval_ms = 60_000;
    resumes(&mut client, &node, "0:5").await;
}

#[tokio::test]
async fn a_client_ends_when_its_node_rejects_it_for_good() {
    let node = Node::start().await;
    let (mut client, session) = subscribed(&node, hasty()).await;
    session.close(4403, "not yours").await;
    let Event::Ended(Ended::Closed(close)) = next(&mut client).await else { panic!("the client ends") };
    assert_eq!((close.code, close.reason.as_str()), (4403, "not yours"));
    assert_eq!(client.next().await, None);
    let subscription = Subscription::to(channel("quotes/B"));
    assert_eq!(client.subscribe(subscription).await, Err(SubscribeError::Ended));
}

#[tokio::test]
async fn a_client_leaves_a_node_that_repeats_a_record_and_hands_it_out_once() {
    let node = Node::start().await;
    let (mut client, mut session) = subscribed(&node, hasty()).await;
    session.send_frames([delivery(1, 5), delivery(1, 5)]).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    // Its close code has the reason.
    assert_eq!(session.left().await, Some(1002));
    assert!(matches!(cause(next(&mut client).await), Cause::Fault(_)));
    let mut session = resumes(&mut client, &node, "0:6").await;
    session.deliver(7, 6).await;
    assert_eq!(offset(&next(&mut client).await), 6);
}

#[tokio::test]
async fn an_application_that_is_behind_gets_everything_and_its_position_is_its_own() {
    let node = Node::start().await;
    let (mut client, mut session) = subscribed(&node, Options { events_max: 2, ..hasty() }).await;
    for at in 5..50 {
        session.send_frames([delivery(1, 2 * at), delivery(1, 2 * at + 1)]).await;
    }
    for expected in 10..100 {
        assert_eq!(offset(&next(&mut client).await), expected);
        let position = client.position(&channel("quotes/A")).map(ToString::to_string);
        assert_eq!(position, Some(format!("0:{}", expected + 1)));
    }
}

#[tokio::test]
async fn a_client_answers_pings() {
    let node = Node::start().await;
    let (_client, mut session) = connect(&node, hasty()).await;
    session.send(Message::Ping("are you there".into())).await;
    assert_eq!(session.receive_any().await, Some(Message::Pong("are you there".into())));
}

#[tokio::test]
async fn connecting_fails_without_a_node() {
    let node = Node::start().await;
    let url = node.url();
    drop(node);
    let error = Client::connect(&url, hasty()).await.expect_err("nobody listens");
    assert!(matches!(error, ConnectError::Open(OpenError::Unreachable { .. })), "{error}");
    assert!(error.is_temporary());
}

#[tokio::test]
async fn connecting_fails_when_the_node_refuses() {
    let node = Node::start().await;
    let url = node.url();
    let refuse = async { node.accept().await.close(4401, "no token").await };
    let (client, ()) = tokio::join!(Client::connect(&url, hasty()), refuse);
    let error = client.expect_err("it is refused");
    assert!(error.to_string().ends_with("4401 no token"), "{error}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_subscription_made_without_a_connection_is_in_the_next_connect() {
    let node = Node::start().await;
    let (mut client, session) = connect(&node, hasty()).await;
    session.close(1012, "").await;
    cause(next(&mut client).await);
    // An attempt waits until the node answers, so this happens during one.
    let waiting = node.accept().await;
    client.subscribe(Subscription::to(channel("quotes/A"))).await.expect("it is the first");
    drop(waiting);
    cause(next(&mut client).await);
    assert_eq!(node.welcome().await.connect.subscriptions.len(), 1);
}

#[tokio::test]
async fn a_client_tries_its_other_endpoints_when_a_node_is_gone() {
    let (first, second) = (Node::start().await, Node::start().await);
    let other = second.url().parse().expect("an endpoint");
    let (mut client, session) = subscribed(&first, Options { other_endpoints: vec![other], ..hasty() }).await;
    drop(first);
    session.close(1001, "").await;
    let mut session = second.welcome().await;
    assert_eq!(session.positions(), ["0:5"]);
    session.subscribed(session.id, 0, 3, "0:5").await;
    session.deliver(3, 5).await;
    loop {
        match next(&mut client).await {
            event @ Event::Delivery(_) => return assert_eq!(offset(&event), 5),
            Event::Reconnecting(_) | Event::Reconnected(_) | Event::Subscribed(_) => {}
            other => panic!("{other:?} was not expected"),
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_node_turns_to_the_next_one() {
    // It reconnected to the node that drained, and tried another one only after that had failed.
    let (first, second) = (Node::start().await, Node::start().await);
    let other = second.url().parse().expect("an endpoint");
    let (mut client, session) = subscribed(&first, Options { other_endpoints: vec![other], ..hasty() }).await;
    session.close(4529, "full").await;
    cause(next(&mut client).await);
    let session = resumes(&mut client, &second, "0:5").await;
    drop(session);
    cause(next(&mut client).await);
    resumes(&mut client, &first, "0:5").await;
}

#[tokio::test]
async fn a_client_that_was_late_comes_back() {
    let node = Node::start().await;
    let (mut client, session) = subscribed(&node, hasty()).await;
    session.close(4408, "no connect in time").await;
    cause(next(&mut client).await);
    resumes(&mut client, &node, "0:5").await;
}

#[tokio::test]
async fn closing_a_client_closes_the_connection() {
    let node = Node::start().await;
    let (client, session) = subscribed(&node, hasty()).await;
    let ((), code) = tokio::join!(client.close(), session.left());
    assert_eq!(code, Some(1000));
}

#[tokio::test]
async fn a_client_speaks_json_and_brings_its_token() {
    let node = Node::start().await;
    let connection = ConnectionOptions {
        subprotocol: Subprotocol::Json,
        token: Some("secret".into()),
        ..ConnectionOptions::default()
    };
    let (mut client, mut session) = subscribed(&node, Options { connection, ..hasty() }).await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer secret"));
    session.deliver(1, 5).await;
    let Event::Delivery(delivery) = next(&mut client).await else { panic!("a delivery comes") };
    assert_eq!(delivery.value.as_deref(), Some(&b"5"[..]));
}

#[tokio::test]
async fn a_connection_can_be_opened_from_a_chosen_address() {
    let node = Node::start().await;
    let source = "127.9.8.7".parse().expect("an address");
    let options = ConnectionOptions { source: Some(source), ..ConnectionOptions::default() };
    let endpoint = node.url().parse().expect("an endpoint");
    let opened = async {
        let mut connection = Connection::open(&endpoint, &options).await.expect("the node answers");
        let connect = v1::client_message::Command::Connect(v1::Connect::default());
        connection.send(&v1::ClientMessage { id: 1, command: Some(connect) }).await.expect("it is open");
        connection
    };
    let (_connection, session) = tokio::join!(opened, node.welcome());
    assert_eq!(session.peer().ip(), source);
}
