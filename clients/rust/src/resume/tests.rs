//! Tests of the subscriptions with single frames.

use std::time::Duration;

use prost::Message as _;
use tailcast_proto::push::v1::{client_message::Command, subscribe};

use super::*;
use crate::{Event, MaxRate, Start};

pub(super) fn channel(name: &str) -> Channel {
    name.parse().expect("a channel")
}

pub(super) fn frame(id: u32, frame: frame::Frame) -> Frame {
    Frame { id, frame: Some(frame) }
}

pub(super) fn subscribed(id: u32, index: u32, alias: u32, position: &str) -> Frame {
    let position: Position = position.parse().expect("a position");
    let subscribed = v1::Subscribed {
        index,
        alias,
        position: Some((&position).into()),
        outcome: v1::Outcome::Resumed.into(),
        ..Default::default()
    };
    frame(id, frame::Frame::Subscribed(subscribed))
}

pub(super) fn delivery(alias: u32, offset: i64) -> Frame {
    frame(0, frame::Frame::Delivery(v1::Delivery { alias, offset, ..Default::default() }))
}

pub(super) fn refused(id: u32, index: u32, code: v1::ErrorCode, retry_after_ms: u32) -> Frame {
    let error = v1::Error { code: code.into(), index, retry_after_ms, ..Default::default() };
    frame(id, frame::Frame::Error(error))
}

fn progress(topic: &str, next_offset: i64, except_aliases: &[u32]) -> Frame {
    let progress = v1::Progress {
        topic: topic.into(),
        partition: 0,
        next_offset,
        except_aliases: except_aliases.into(),
    };
    frame(0, frame::Frame::Heartbeat(v1::Heartbeat { progress: vec![progress], ..Default::default() }))
}

pub(super) fn observe(resume: &mut Resume, frame: Frame) -> Option<Event> {
    resume.observe(frame, Instant::now()).expect("the frame is in order")
}

/// Returns the commands of a client as text.
pub(super) fn commands_text(messages: &[ClientMessage]) -> String {
    let one = |subscribe: &v1::Subscribe| {
        let Some(subscribe::Target::Channel(channel)) = &subscribe.target else { return "?".to_owned() };
        let channel = Channel::try_from(channel.clone()).expect("a channel");
        match subscribe.start.as_ref().and_then(|start| start.at.clone()) {
            Some(v1::start::At::Position(position)) => {
                format!("{channel} at {}", Position::try_from(position).expect("a position"))
            }
            Some(v1::start::At::Snapshot(_)) => format!("{channel} with snapshot"),
            _ => format!("{channel}"),
        }
    };
    let one = |subscribe: &v1::Subscribe| match subscribe.mode() {
        v1::DeliveryMode::Conflated => format!("{} conflated to {}", one(subscribe), subscribe.max_rate),
        _ => one(subscribe),
    };
    let message = |message: &ClientMessage| match &message.command {
        Some(Command::Connect(connect)) => {
            format!("connect({})", connect.subscriptions.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Some(Command::Subscribe(subscribe)) => format!("subscribe({})", one(subscribe)),
        Some(Command::Unsubscribe(_)) => "unsubscribe".to_owned(),
        other => format!("{other:?}"),
    };
    messages.iter().map(message).collect::<Vec<_>>().join(" ")
}

/// A client with these subscriptions, subscribed under aliases from 1 on, each at `0:5`.
pub(super) fn subscribed_to(names: &[&str]) -> Resume {
    let mut resume = Resume::new();
    for name in names {
        resume.add(Subscription::to(channel(name))).expect("each channel once");
    }
    resume.connect(v1::Connect::default(), usize::MAX);
    for (index, _) in (0..).zip(names) {
        observe(&mut resume, subscribed(1, index, index + 1, "0:5"));
    }
    resume
}

#[test]
fn connect_carries_all_subscriptions_at_their_positions() {
    let mut resume = subscribed_to(&["quotes/A", "quotes/B"]);
    observe(&mut resume, delivery(1, 7));
    let messages = resume.connect(v1::Connect::default(), usize::MAX);
    assert_eq!(commands_text(&messages), "connect(quotes/A at 0:8, quotes/B at 0:5)");
}

#[test]
fn subscriptions_beyond_the_size_of_connect_follow_in_commands() {
    let mut resume = subscribed_to(&["quotes/A", "quotes/B", "quotes/C"]);
    let room = resume.connect(v1::Connect::default(), usize::MAX)[0].encoded_len() + 20;
    let messages = resume.connect(v1::Connect::default(), room);
    assert_eq!(
        commands_text(&messages),
        "connect(quotes/A at 0:5, quotes/B at 0:5) subscribe(quotes/C at 0:5)"
    );
    assert!(messages.iter().all(|message| message.encoded_len() <= room));
}

#[test]
fn an_alias_is_unknown_on_the_next_connection() {
    let mut resume = subscribed_to(&["quotes/A", "quotes/B"]);
    resume.connect(v1::Connect::default(), usize::MAX);
    assert_eq!(resume.observe(delivery(1, 9), Instant::now()), Err(Fault::UnknownAlias(1)));
    observe(&mut resume, subscribed(1, 0, 2, "0:5"));
    observe(&mut resume, subscribed(1, 1, 1, "0:5"));
    observe(&mut resume, delivery(1, 9));
    assert_eq!(resume.position(&channel("quotes/B")).map(ToString::to_string).as_deref(), Some("0:10"));
}

#[test]
fn a_repeated_delivery_is_a_fault_and_keeps_the_position() {
    let mut resume = subscribed_to(&["quotes/A"]);
    observe(&mut resume, delivery(1, 7));
    let fault = resume.observe(delivery(1, 7), Instant::now()).expect_err("it is repeated");
    assert!(matches!(fault, Fault::Order { .. }), "{fault}");
    assert_eq!(resume.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("0:8"));
}

#[test]
fn progress_advances_all_subscriptions_of_the_partition_except_those_behind() {
    let mut resume = subscribed_to(&["quotes/A", "quotes/B", "chat/A"]);
    let Some(Event::Heartbeat(heartbeat)) = observe(&mut resume, progress("quotes", 50, &[2])) else {
        panic!("a heartbeat is an event");
    };
    let moved: Vec<_> = heartbeat.progress.iter().map(|moved| moved.channel.to_string()).collect();
    assert_eq!(moved, ["quotes/A"]);
    let messages = resume.connect(v1::Connect::default(), usize::MAX);
    assert_eq!(commands_text(&messages), "connect(quotes/A at 0:50, quotes/B at 0:5, chat/A at 0:5)");
}

#[test]
fn a_delivery_of_a_channel_of_one_key_has_the_key() {
    let mut resume = subscribed_to(&["quotes/A"]);
    let Some(Event::Delivery(delivery)) = observe(&mut resume, delivery(1, 5)) else {
        panic!("a delivery is an event");
    };
    assert_eq!(delivery.key.as_deref(), Some(&b"A"[..]));
}

#[test]
fn a_temporarily_refused_subscription_is_retried() {
    let mut resume = Resume::new();
    let now = Instant::now();
    resume.add(Subscription::to(channel("quotes/A"))).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    let frame = refused(1, 0, v1::ErrorCode::Unavailable, 300);
    let event = resume.observe(frame, now).expect("a refusal is no fault");
    assert!(matches!(event, Some(Event::Error(refused)) if refused.retry_after.is_some()));

    assert_eq!(commands_text(&resume.due(now)), "");
    let later = now + Duration::from_millis(300);
    assert_eq!(resume.next_due(), Some(later));
    assert_eq!(commands_text(&resume.due(later)), "subscribe(quotes/A)");
    assert_eq!(commands_text(&resume.due(later)), "");
}

#[test]
fn a_permanently_refused_subscription_is_removed() {
    let mut resume = Resume::new();
    resume.add(Subscription::to(channel("quotes/A"))).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    observe(&mut resume, refused(1, 0, v1::ErrorCode::OtherEpoch, 0));
    assert_eq!(commands_text(&resume.connect(v1::Connect::default(), usize::MAX)), "connect()");
    resume.add(Subscription::to(channel("quotes/A"))).expect("the channel is free again");
}

#[test]
fn a_channel_is_subscribed_once() {
    let mut resume = subscribed_to(&["quotes/A"]);
    assert_eq!(resume.add(Subscription::to(channel("quotes/A"))), Err(AlreadySubscribed));
}

#[test]
fn unsubscribing_sends_a_command_and_drops_deliveries_in_flight() {
    let mut resume = subscribed_to(&["quotes/A"]);
    resume.unsubscribe(&channel("quotes/A"));
    let messages = resume.due(Instant::now());
    assert_eq!(commands_text(&messages), "unsubscribe");
    assert_eq!(observe(&mut resume, delivery(1, 6)), None);
    let ended = v1::Unsubscribed { alias: 1, ..Default::default() };
    let event = observe(&mut resume, frame(messages[0].id, frame::Frame::Unsubscribed(ended)));
    let Some(Event::Unsubscribed(ended)) = event else { panic!("the end is an event") };
    assert_eq!(ended.position.map(|position| position.to_string()).as_deref(), Some("0:7"));
    assert_eq!(commands_text(&resume.connect(v1::Connect::default(), usize::MAX)), "connect()");
}

#[test]
fn a_subscription_that_is_ending_is_not_requested_on_the_next_connection() {
    let mut resume = subscribed_to(&["quotes/A", "quotes/B"]);
    resume.unsubscribe(&channel("quotes/A"));
    assert_eq!(resume.take_unsubscribing().len(), 1);
    assert_eq!(
        commands_text(&resume.connect(v1::Connect::default(), usize::MAX)),
        "connect(quotes/B at 0:5)"
    );
}

#[test]
fn a_subscription_dropped_while_connecting_is_ended_afterwards() {
    let mut resume = subscribed_to(&["quotes/A"]);
    resume.connect(v1::Connect::default(), usize::MAX);
    resume.unsubscribe(&channel("quotes/A"));
    assert!(matches!(observe(&mut resume, subscribed(1, 0, 9, "0:5")), Some(Event::Subscribed(_))));
    assert_eq!(commands_text(&resume.due(Instant::now())), "unsubscribe");
}

#[test]
fn an_interrupted_snapshot_is_requested_again() {
    let mut resume = Resume::new();
    resume.add(Subscription::to(channel("quotes/A")).from(Start::Snapshot)).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    let mut start = subscribed(1, 0, 1, "0:5");
    if let Some(frame::Frame::Subscribed(subscribed)) = &mut start.frame {
        subscribed.outcome = v1::Outcome::Snapshot.into();
    }
    observe(&mut resume, start);
    // A delivery from the only partition does not name it.
    observe(&mut resume, delivery(1, 2));
    assert_eq!(
        commands_text(&resume.connect(v1::Connect::default(), usize::MAX)),
        "connect(quotes/A with snapshot)"
    );
}

#[test]
fn an_unexpected_reply_is_a_fault() {
    let mut resume = subscribed_to(&["quotes/A"]);
    let fault = resume.observe(subscribed(1, 0, 1, "0:5"), Instant::now());
    assert_eq!(fault, Err(Fault::UnexpectedReply { id: 1, index: 0 }));
    let fault = resume.observe(subscribed(77, 0, 1, "0:5"), Instant::now());
    assert_eq!(fault, Err(Fault::UnexpectedReply { id: 77, index: 0 }));
}

#[test]
fn an_invalid_place_is_a_fault() {
    let mut resume = subscribed_to(&["quotes/A"]);
    assert!(matches!(resume.observe(delivery(1, -1), Instant::now()), Err(Fault::Place { .. })));
}

fn partitions_added(alias: u32) -> Frame {
    let reason = v1::UnsubscribeReason::PartitionsAdded.into();
    frame(0, frame::Frame::Unsubscribed(v1::Unsubscribed { alias, reason, ..Default::default() }))
}

#[test]
fn a_topic_that_gets_partitions_is_subscribed_again_without_an_event() {
    let mut resume = subscribed_to(&["quotes/*"]);
    observe(&mut resume, delivery(1, 7));
    assert_eq!(observe(&mut resume, partitions_added(1)), None);
    let messages = resume.due(Instant::now());
    assert_eq!(commands_text(&messages), "subscribe(quotes/* at 0:8)");
    observe(&mut resume, subscribed(messages[0].id, 0, 4, "0:8,1:0"));
    assert_eq!(resume.observe(delivery(1, 9), Instant::now()), Err(Fault::UnknownAlias(1)));
}

#[test]
fn a_subscription_that_is_ending_is_not_requested_again() {
    let mut resume = subscribed_to(&["quotes/*"]);
    resume.unsubscribe(&channel("quotes/*"));
    resume.due(Instant::now());
    assert!(matches!(observe(&mut resume, partitions_added(1)), Some(Event::Unsubscribed(_))));
    assert_eq!(commands_text(&resume.due(Instant::now())), "");
}

#[test]
fn a_key_that_moved_to_a_new_partition_is_requested_by_epoch_and_partition_count() {
    let mut resume = Resume::new();
    resume.add(Subscription::to(channel("quotes/A"))).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    observe(&mut resume, subscribed(1, 0, 1, "ASNFZ4mrze_-3LqYdlQyEA/2@1:40"));
    let messages = resume.connect(v1::Connect::default(), usize::MAX);

    let now = Instant::now();
    let event = resume.observe(refused(messages[0].id, 0, v1::ErrorCode::UnknownPartition, 0), now);
    assert!(matches!(event, Ok(Some(Event::Error(refused))) if refused.retry_after == Some(Duration::ZERO)));
    let messages = resume.due(now);
    assert_eq!(commands_text(&messages), "subscribe(quotes/A at ASNFZ4mrze_-3LqYdlQyEA/2@)");

    // The second refusal is permanent.
    let event = resume.observe(refused(messages[0].id, 0, v1::ErrorCode::UnknownPartition, 0), now);
    assert!(matches!(event, Ok(Some(Event::Error(refused))) if refused.retry_after.is_none()));
}

#[test]
fn a_conflated_subscription_stays_conflated() {
    let mut resume = Resume::new();
    let rate = MaxRate::per_second(2.5).expect("a rate");
    resume.add(Subscription::to(channel("quotes/*")).conflated_to(rate)).expect("the first");
    let messages = resume.connect(v1::Connect::default(), usize::MAX);
    assert_eq!(commands_text(&messages), "connect(quotes/* conflated to 2.5)");
    let mut start = subscribed(1, 0, 1, "0:5");
    if let Some(frame::Frame::Subscribed(subscribed)) = &mut start.frame {
        subscribed.set_mode(v1::DeliveryMode::Conflated);
        subscribed.max_rate = 2.5;
    }
    let Some(Event::Subscribed(started)) = observe(&mut resume, start) else { panic!("it starts") };
    assert_eq!((started.mode, started.max_rate), (v1::DeliveryMode::Conflated, Some(2.5)));

    let messages = resume.connect(v1::Connect::default(), usize::MAX);
    assert_eq!(commands_text(&messages), "connect(quotes/* at 0:5 conflated to 2.5)");
}

pub(super) fn conflated(alias: u32, first_offset: i64, next_offset: i64, records: u64) -> Frame {
    let reason = v1::SkipReason::Conflated.into();
    let skipped = v1::Skipped { alias, first_offset, next_offset, reason, records, ..Default::default() };
    frame(0, frame::Frame::Skipped(skipped))
}

#[test]
fn conflation_reports_skipped_records_in_ranges() {
    let mut resume = subscribed_to(&["quotes/A"]);
    observe(&mut resume, delivery(1, 9));

    // A range may include records that were delivered before, and never moves the position back.
    let Some(Event::Skipped(skipped)) = observe(&mut resume, conflated(1, 5, 8, 0)) else {
        panic!("a skip is an event");
    };
    assert_eq!((skipped.first.get(), skipped.next.get(), skipped.records), (5, 8, Some(0)));
    assert_eq!(resume.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("0:10"));
    observe(&mut resume, conflated(1, 5, 20, 2));
    assert_eq!(resume.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("0:20"));
}

#[test]
fn a_complete_snapshot_is_resumed_by_position() {
    let mut resume = Resume::new();
    resume.add(Subscription::to(channel("quotes/A")).with_snapshot()).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    let mut start = subscribed(1, 0, 1, "0:5");
    if let Some(frame::Frame::Subscribed(subscribed)) = &mut start.frame {
        subscribed.outcome = v1::Outcome::Snapshot.into();
    }
    observe(&mut resume, start);
    observe(&mut resume, delivery(1, 2));
    let position: Position = "0:5".parse().expect("a position");
    let end = v1::SnapshotEnd { alias: 1, position: Some((&position).into()), values: 1 };
    let Some(Event::SnapshotEnd(end)) = observe(&mut resume, frame(0, frame::Frame::SnapshotEnd(end))) else {
        panic!("the end of a snapshot is an event");
    };
    assert_eq!((end.position, end.values), (position, 1));
    assert_eq!(
        commands_text(&resume.connect(v1::Connect::default(), usize::MAX)),
        "connect(quotes/A at 0:5)"
    );
}

#[test]
fn a_subscription_of_a_session_that_closes_is_resumed() {
    let mut resume = subscribed_to(&["quotes/A"]);
    let position: Position = "0:9".parse().expect("a position");
    let reason = v1::UnsubscribeReason::Closing.into();
    let closing =
        v1::Unsubscribed { alias: 1, reason, position: Some((&position).into()), ..Default::default() };
    assert_eq!(observe(&mut resume, frame(0, frame::Frame::Unsubscribed(closing))), None);
    assert_eq!(commands_text(&resume.due(Instant::now())), "", "the session closes: a command is of no use");
    assert_eq!(
        commands_text(&resume.connect(v1::Connect::default(), usize::MAX)),
        "connect(quotes/A at 0:9)"
    );
}

#[test]
fn a_key_of_a_topic_that_grew_has_a_home_partition_and_a_former_one() {
    let mut resume = Resume::new();
    resume.add(Subscription::to(channel("quotes/A"))).expect("the first");
    resume.connect(v1::Connect::default(), usize::MAX);
    let mut start = subscribed(1, 0, 1, "1:40,3:0");
    if let Some(frame::Frame::Subscribed(subscribed)) = &mut start.frame {
        subscribed.home_partition = Some(3);
    }
    observe(&mut resume, start);
    observe(&mut resume, delivery(1, 0));
    assert_eq!(resume.position(&channel("quotes/A")).map(ToString::to_string).as_deref(), Some("1:40,3:1"));
}
