//! A client whose node drains opens its next connection before it leaves.

use std::time::Duration;

use tailcast_client::{Cause, Client, Event, Moved, Options, Subscription};
use tailcast_proto::push::v1::{self, Frame, frame};
use tokio::time::timeout;

use super::{cause, channel, hasty, next, offset, subscribed};
use crate::node::{Node, PATIENCE, Session, delivery};

/// A deadline that no test reaches.
const FAR: u32 = 60_000;

/// Back-off beyond the timeout of a test: a client that reconnects earlier follows a hint of its
/// node.
fn slow() -> Options {
    let slow = Duration::from_secs(3600);
    Options { backoff_first: slow, backoff_max: slow, ..Options::default() }
}

async fn go_away(session: &mut Session, retry_after_ms: u32, deadline_ms: u32) {
    let goaway = v1::Goaway { retry_after_ms, deadline_ms, detail: "drain".into() };
    session.send_frames([Frame { id: 0, frame: Some(frame::Frame::Goaway(goaway)) }]).await;
}

/// Returns two nodes, and a client of the first with the second as another endpoint.
async fn pair(options: Options) -> (Node, Node, Client, Session) {
    let (first, second) = (Node::start().await, Node::start().await);
    let other = second.url().parse().expect("an endpoint");
    let (client, session) = subscribed(&first, Options { other_endpoints: vec![other], ..options }).await;
    (first, second, client, session)
}

/// Expects the events of a client that has moved without an interruption.
async fn moved(client: &mut Client) {
    let Event::Moved(Moved { node, .. }) = next(client).await else { panic!("the client goes over") };
    assert_eq!(node, "node");
    assert!(matches!(next(client).await, Event::Subscribed(_)));
}

#[tokio::test]
async fn a_client_goes_over_to_the_next_node_before_it_leaves_its_own() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    go_away(&mut old, 30, FAR).await;
    old.deliver(1, 5).await;
    assert_eq!(offset(&next(&mut client).await), 5);

    let mut new = second.welcome().await;
    assert_eq!(new.positions(), ["0:6"]);
    // The old connection delivers until the new one has answered. The new one repeats its records.
    old.send_frames([delivery(1, 6), delivery(1, 7)]).await;
    assert_eq!(offset(&next(&mut client).await), 6);
    assert_eq!(offset(&next(&mut client).await), 7);
    new.subscribed(new.id, 0, 4, "0:6").await;
    new.send_frames([delivery(4, 6), delivery(4, 7), delivery(4, 8)]).await;
    assert_eq!(old.left().await, Some(1000));
    moved(&mut client).await;
    assert_eq!(offset(&next(&mut client).await), 8);
    assert_eq!(client.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("0:9"));
}

#[tokio::test]
async fn a_client_whose_next_node_is_not_there_stays_and_tries_again() {
    let (first, second, mut client, mut old) = pair(hasty()).await;
    go_away(&mut old, 1, FAR).await;
    // The second node disconnects, once before `Connected` and once after it, and then accepts the
    // client.
    drop(second.accept().await);
    deliver_over(&mut old, &mut client, 5).await;
    // The endpoints take turns, including the node that drains.
    drop(first.accept().await);
    deliver_over(&mut old, &mut client, 6).await;
    let new = second.welcome().await;
    assert_eq!(new.positions(), ["0:7"]);
    drop(new);
    deliver_over(&mut old, &mut client, 7).await;
    let mut new = first.welcome().await;
    assert_eq!(new.positions(), ["0:8"]);
    new.subscribed(new.id, 0, 4, "0:8").await;
    assert_eq!(old.left().await, Some(1000));
    moved(&mut client).await;
}

/// Delivers over the old connection, which the client still reads.
async fn deliver_over(old: &mut Session, client: &mut Client, at: i64) {
    old.deliver(1, at).await;
    assert_eq!(offset(&next(client).await), at);
}

#[tokio::test]
async fn a_client_with_one_endpoint_asks_it_again_until_another_node_answers_there() {
    let node = Node::start().await;
    let (mut client, mut old) = subscribed(&node, hasty()).await;
    go_away(&mut old, 0, FAR).await;
    // The node that drains accepts no connection.
    node.refuse(503, Some(0)).await;
    deliver_over(&mut old, &mut client, 5).await;
    node.refuse(503, None).await;
    deliver_over(&mut old, &mut client, 6).await;
    let mut new = node.welcome().await;
    assert_eq!(new.positions(), ["0:7"]);
    new.subscribed(new.id, 0, 1, "0:7").await;
    assert_eq!(old.left().await, Some(1000));
    moved(&mut client).await;
    new.deliver(1, 7).await;
    assert_eq!(offset(&next(&mut client).await), 7);
}

#[tokio::test]
async fn a_requested_wait_of_a_refusal_is_followed() {
    // The client's own back-off is longer than the timeout of the test.
    let options = Options { backoff_first: Duration::from_millis(900), ..slow() };
    let node = Node::start().await;
    let (_client, mut old) = subscribed(&node, options).await;
    go_away(&mut old, 0, FAR).await;
    node.refuse(503, Some(1)).await;
    assert_eq!(node.welcome().await.positions(), ["0:5"]);
}

#[tokio::test]
async fn a_client_whose_node_closes_goes_over_to_a_connection_that_is_not_ready() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    go_away(&mut old, 0, FAR).await;
    let mut new = second.welcome().await;
    old.deliver(1, 5).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    old.close(4503, "draining").await;
    assert!(matches!(next(&mut client).await, Event::Moved(_)));
    // Requested when the client was at 5, and answered when it is at 6.
    new.subscribed(new.id, 0, 4, "0:5").await;
    new.send_frames([delivery(4, 5), delivery(4, 6)]).await;
    let Event::Subscribed(start) = next(&mut client).await else { panic!("it has started") };
    assert_eq!(start.position.to_string(), "0:6");
    assert_eq!(offset(&next(&mut client).await), 6);
}

#[tokio::test]
async fn a_client_whose_node_closes_waits_for_the_attempt_that_is_under_way() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    go_away(&mut old, 0, FAR).await;
    let mut new = second.accept().await;
    old.close(4503, "draining").await;
    assert!(matches!(cause(next(&mut client).await), Cause::Closed(close) if close.code == 4503));
    new.connected(&second).await;
    assert!(matches!(next(&mut client).await, Event::Reconnected(_)));
    new.subscribed(new.id, 0, 4, "0:5").await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
}

#[tokio::test]
async fn a_client_whose_attempt_fails_after_its_node_closed_backs_off() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    go_away(&mut old, 0, FAR).await;
    let new = second.accept().await;
    old.close(4503, "draining").await;
    cause(next(&mut client).await);
    drop(new);
    let Event::Reconnecting(reconnecting) = next(&mut client).await else { panic!("it tries again") };
    assert!(matches!(reconnecting.cause, Cause::Lost(_)), "{reconnecting:?}");
    assert!(reconnecting.after > Duration::ZERO, "{reconnecting:?}");
}

#[tokio::test]
async fn a_client_leaves_at_the_deadline_and_reconnects_after_the_requested_wait() {
    let node = Node::start().await;
    let (mut client, mut old) = subscribed(&node, slow()).await;
    go_away(&mut old, 60, 30).await;
    old.deliver(1, 5).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    assert_eq!(old.left().await, Some(1000));
    assert_eq!(cause(next(&mut client).await), Cause::Goaway("drain".into()));
    assert_eq!(node.welcome().await.positions(), ["0:6"]);
}

#[tokio::test]
async fn a_node_that_has_lost_records_of_the_old_connection_does_not_take_over() {
    let (first, second, mut client, mut old) = pair(hasty()).await;
    go_away(&mut old, 0, FAR).await;
    let mut new = second.welcome().await;
    let start = crate::node::subscribed(new.id, 0, 4, "0:9", v1::Outcome::Lost);
    new.send_frames([start]).await;
    assert_eq!(new.left().await, Some(1000));
    deliver_over(&mut old, &mut client, 5).await;
    assert_eq!(first.welcome().await.positions(), ["0:6"]);
}

#[tokio::test]
async fn a_conflated_subscription_is_requested_when_the_old_connection_is_closed() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    client.subscribe(Subscription::to(channel("quotes/B")).conflated()).await.expect("it is the first");
    old.subscribe(2, "0:5").await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    go_away(&mut old, 0, FAR).await;
    let mut new = second.welcome().await;
    assert_eq!(new.positions(), ["0:5"]);
    // The old connection has counted its skipped records up to here.
    old.deliver(2, 8).await;
    assert_eq!(offset(&next(&mut client).await), 8);
    new.subscribed(new.id, 0, 4, "0:5").await;
    let asked = new.subscribe(5, "0:9").await;
    assert_eq!(asked.mode(), v1::DeliveryMode::Conflated);
    moved(&mut client).await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    new.deliver(5, 9).await;
    assert_eq!(offset(&next(&mut client).await), 9);
}

#[tokio::test]
async fn closing_a_client_that_is_about_to_go_over_closes_both_connections() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    client.subscribe(Subscription::to(channel("quotes/B"))).await.expect("it is the first");
    old.subscribe(2, "0:5").await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    go_away(&mut old, 0, FAR).await;
    let mut new = second.welcome().await;
    // One of two subscriptions is answered, and delivers.
    new.subscribed(new.id, 0, 4, "0:5").await;
    new.deliver(4, 5).await;
    assert_eq!(offset(&next(&mut client).await), 5);
    let ((), from_old, from_new) = tokio::join!(client.close(), old.left(), new.left());
    assert_eq!((from_old, from_new), (Some(1000), Some(1000)));
}

#[tokio::test]
async fn a_client_gets_every_record_once_while_both_nodes_flood_it() {
    let (_first, second, mut client, mut old) = pair(slow()).await;
    go_away(&mut old, 20, FAR).await;
    let flood = async {
        let mut at = 5;
        // Until the client has left: then sending fails.
        while old.try_send_frames([delivery(1, at)]).await.is_ok() {
            at += 1;
        }
    };
    let going = async {
        let mut new = second.welcome().await;
        let from = new.positions().remove(0);
        let first: i64 = from.trim_start_matches("0:").parse().expect("an offset");
        new.subscribed(new.id, 0, 4, &from).await;
        // More than the old connection can have delivered in the meantime.
        for at in first..first + 20_000 {
            new.deliver(4, at).await;
        }
        first + 20_000
    };
    let taking = async {
        let mut expected = 5;
        let mut over = false;
        while !(over && expected > 15_000) {
            match next(&mut client).await {
                Event::Moved(_) => over = true,
                Event::Subscribed(_) => {}
                event => {
                    assert_eq!(offset(&event), expected);
                    expected += 1;
                }
            }
        }
    };
    let all = async { tokio::join!(flood, going, taking) };
    timeout(PATIENCE * 2, all).await.expect("the client moves in time");
}
