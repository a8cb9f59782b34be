//! Modes other than lossless, and their events.

use tailcast_client::{Event, MaxRate, Refused, Start, Subscription};
use tailcast_proto::push::v1::{self, Frame, frame, start::At};

use super::{cause, channel, connect, hasty, next, offset};
use crate::node::{Node, delivery, subscribed};

/// Returns a frame without an id.
fn plain_frame(frame: frame::Frame) -> Frame {
    Frame { id: 0, frame: Some(frame) }
}

#[tokio::test]
async fn a_conflated_subscription_reports_skips_and_stays_conflated() {
    let node = Node::start().await;
    let (mut client, mut session) = connect(&node, hasty()).await;
    let rate = MaxRate::per_second(10.0).expect("a rate");
    let subscription = Subscription::to(channel("quotes/A")).conflated_to(rate);
    client.subscribe(subscription).await.expect("it is the first");
    let asked = session.subscribe(1, "0:5").await;
    assert_eq!((asked.mode(), asked.max_rate), (v1::DeliveryMode::Conflated, 10.0));
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));

    let reason = v1::SkipReason::Conflated.into();
    let range = v1::Skipped { alias: 1, first_offset: 5, next_offset: 12, reason, records: 2, partition: 0 };
    session.send_frames([delivery(1, 8), plain_frame(frame::Frame::Skipped(range))]).await;
    assert_eq!(offset(&next(&mut client).await), 8);
    let Event::Skipped(skipped) = next(&mut client).await else { panic!("a skip comes") };
    assert_eq!((skipped.next.get(), skipped.records), (12, Some(2)));
    assert_eq!(skipped.reason, v1::SkipReason::Conflated);

    session.close(4503, "draining").await;
    cause(next(&mut client).await);
    let session = node.welcome().await;
    assert_eq!(session.positions(), ["0:12"]);
    assert_eq!(session.connect.subscriptions[0].mode(), v1::DeliveryMode::Conflated);
}

#[tokio::test]
async fn a_snapshot_is_begun_anew_until_it_was_complete() {
    let node = Node::start().await;
    let (mut client, mut session) = connect(&node, hasty()).await;
    client.subscribe(Subscription::to(channel("quotes/A")).with_snapshot()).await.expect("it is the first");
    let id = session.receive().await.expect("the client subscribes").id;
    session.send_frames([subscribed(id, 0, 1, "0:5", v1::Outcome::Snapshot), delivery(1, 2)]).await;
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    assert_eq!(offset(&next(&mut client).await), 2);
    assert_eq!(client.position(&channel("quotes/A")), None, "values are still to come");
    drop(session);
    cause(next(&mut client).await);

    // All values are delivered again.
    let mut session = node.welcome().await;
    let start = session.connect.subscriptions[0].start.as_ref().and_then(|start| start.at.clone());
    assert!(matches!(start, Some(At::Snapshot(_))), "{start:?}");
    let end = v1::SnapshotEnd { alias: 7, position: position("0:5"), values: 2 };
    let id = session.id;
    session
        .send_frames([
            subscribed(id, 0, 7, "0:5", v1::Outcome::Snapshot),
            delivery(7, 2),
            delivery(7, 4),
            plain_frame(frame::Frame::SnapshotEnd(end)),
            delivery(7, 5),
        ])
        .await;
    assert!(matches!(next(&mut client).await, Event::Reconnected(_)));
    assert!(matches!(next(&mut client).await, Event::Subscribed(_)));
    assert_eq!(offset(&next(&mut client).await), 2);
    assert_eq!(offset(&next(&mut client).await), 4);
    assert!(matches!(next(&mut client).await, Event::SnapshotEnd(end) if end.values == 2));
    assert_eq!(offset(&next(&mut client).await), 5);
    session.close(1001, "").await;
    cause(next(&mut client).await);
    assert_eq!(node.welcome().await.positions(), ["0:6"]);
}

#[tokio::test]
async fn an_unsupported_mode_is_refused_and_the_client_continues() {
    let node = Node::start().await;
    let (mut client, mut session) = connect(&node, hasty()).await;
    let subscription = Subscription::to(channel("quotes/A")).conflated().from(Start::Earliest);
    client.subscribe(subscription).await.expect("it is the first");
    let id = session.receive().await.expect("the client subscribes").id;
    let error =
        v1::Error { code: v1::ErrorCode::Unsupported.into(), field: "mode".into(), ..Default::default() };
    session.send_frames([Frame { id, frame: Some(frame::Frame::Error(error)) }]).await;
    let Event::Error(Refused { code, field, retry_after, .. }) = next(&mut client).await else {
        panic!("the refusal comes")
    };
    assert_eq!((code, field.as_str(), retry_after), (v1::ErrorCode::Unsupported, "mode", None));
    client.subscribe(Subscription::to(channel("quotes/A"))).await.expect("the channel is free again");
}

fn position(text: &str) -> Option<v1::Position> {
    let position: tailcast_proto::Position = text.parse().expect("a position");
    Some((&position).into())
}
