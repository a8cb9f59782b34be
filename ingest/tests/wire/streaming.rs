//! Outcomes on streams.

use std::collections::BTreeMap;

use tailcast_ingest::Config;
use tailcast_proto::ingest::v1::{Message, PublishStreamRequest, PublishStreamResponse, Reason, outcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::node::{Node, PATIENCE, check, config, quote, quotes};

/// A stream to a node, as its caller has it.
struct Caller {
    requests: Option<mpsc::Sender<PublishStreamRequest>>,
    responses: Streaming<PublishStreamResponse>,
    next: u64,
}

impl Caller {
    async fn open(node: &Node) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut client = node.publisher().await;
        let responses = client.publish_stream(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests: Some(requests), responses, next: 100 })
    }

    async fn send(&mut self, messages: Vec<Message>) {
        let request = PublishStreamRequest { first_sequence: self.next, messages, want_positions: true };
        self.next += request.messages.len() as u64;
        let requests = self.requests.as_ref().expect("the caller has not half-closed");
        requests.send(request).await.expect("the stream is open");
    }

    async fn response(&mut self) -> Result<Option<PublishStreamResponse>, Status> {
        tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("the stream goes on")
    }

    /// The outcome of each sequence number until the stream ended, and the end.
    async fn rest(&mut self) -> (BTreeMap<u64, Reported>, Result<(), Status>) {
        let mut all = BTreeMap::new();
        let mut last = None;
        loop {
            let response = match self.response().await {
                Ok(Some(response)) => response,
                Ok(None) => return (all, Ok(())),
                Err(status) => return (all, Err(status)),
            };
            for (sequence, reported) in reported(&response) {
                assert!(all.insert(sequence, reported).is_none(), "{sequence} was reported twice");
            }
            let first = response.acks.first().map(|range| range.first_sequence);
            assert!(first.is_none() || first > last, "{first:?} came after {last:?}");
            last = response.acks.last().map(|range| range.last_sequence).or(last);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reported {
    At(u32, i64),
    Failed(Reason),
}

fn reported(response: &PublishStreamResponse) -> Vec<(u64, Reported)> {
    let mut all = Vec::new();
    for range in &response.acks {
        let positions = range.partitions.iter().zip(&range.offsets);
        assert_eq!(positions.len() as u64, range.last_sequence - range.first_sequence + 1, "a position each");
        let numbered = (range.first_sequence..).zip(positions);
        all.extend(
            numbered.map(|(sequence, (partition, offset))| (sequence, Reported::At(*partition, *offset))),
        );
    }
    for failure in &response.failures {
        match failure.outcome.as_ref().and_then(|outcome| outcome.result.as_ref()) {
            Some(outcome::Result::Refused(refused)) => {
                all.push((failure.sequence, Reported::Failed(refused.reason())));
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_credits_and_ends_after_the_last_acknowledgement() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    let first = caller.response().await.expect("the stream is open").expect("it begins with credits");
    assert_eq!(first.credits, 1_000);
    caller.send(quotes(3)).await;
    caller.send(quotes(2)).await;
    caller.requests = None;
    let (all, end) = caller.rest().await;
    assert!(end.is_ok(), "{end:?}");
    let partition = tailcast_proto::partition_of_key(b"AAPL", 3).get();
    let expected = (100..105).zip((0..5).map(|offset| Reported::At(partition, offset)));
    assert_eq!(all, expected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_ignores_its_credits_loses_nothing() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    let requests = caller.requests.take().expect("it is open");
    let sending = async {
        for at in 0..40_u64 {
            let messages = quotes(500);
            let request = PublishStreamRequest { first_sequence: at * 500, messages, want_positions: true };
            requests.send(request).await.expect("the stream is open");
        }
        drop(requests);
    };
    let ((), (all, end)) = tokio::join!(sending, caller.rest());
    assert!(end.is_ok(), "{end:?}");
    let offsets: Vec<_> = all
        .values()
        .map(|reported| match reported {
            Reported::At(_, offset) => *offset,
            Reported::Failed(_) => -1,
        })
        .collect();
    assert_eq!(offsets, (0..20_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_valid_or_has_no_topic_fails_alone() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    let invalid = Message { topic: "a/b".into(), ..quote("AAPL", "") };
    let nowhere = Message { topic: "nowhere".into(), ..quote("AAPL", "") };
    caller.send(vec![quote("AAPL", "1"), invalid, nowhere, quote("AAPL", "2")]).await;
    caller.requests = None;
    let (all, end) = caller.rest().await;
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(all.len(), 4);
    assert_eq!(all[&101], Reported::Failed(Reason::InvalidArgument));
    assert_eq!(all[&102], Reported::Failed(Reason::UnknownTopic));
    assert!(matches!((&all[&100], &all[&103]), (Reported::At(_, 0), Reported::At(_, 1))), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_ends_the_stream_after_what_came_before_it_is_told() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    caller.send(quotes(2)).await;
    caller.next = 200;
    caller.send(quotes(1)).await;
    let (all, end) = caller.rest().await;
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [100, 101]);
    let status = end.expect_err("the sequence jumped");
    check(&status, Code::InvalidArgument, "INVALID_ARGUMENT", "refused");
    assert!(status.message().contains("must be 102"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_is_answered_with_credits_and_501_messages_end_the_stream() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    caller.response().await.expect("the stream is open").expect("it begins with credits");
    caller.send(vec![]).await;
    let answer = caller.response().await.expect("the stream is open").expect("it is answered");
    assert_eq!((answer.credits, answer.acks.len()), (1_000, 0));
    caller.send(quotes(501)).await;
    let (_, end) = caller.rest().await;
    check(&end.expect_err("too many messages"), Code::InvalidArgument, "INVALID_ARGUMENT", "refused");

    // More than there can ever be credits for: an error too, and no wait.
    let mut caller = Caller::open(&node).await.expect("there is room");
    caller.send(quotes(1_001)).await;
    let (_, end) = caller.rest().await;
    check(&end.expect_err("too many messages"), Code::InvalidArgument, "INVALID_ARGUMENT", "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_a_stream_that_ended_makes_room() {
    let node = Node::with(Config { streams_max: 1, ..config() }, &[]).await;
    let first = Caller::open(&node).await.expect("there is room");
    let refused = Caller::open(&node).await.err().expect("there is no room");
    check(&refused, Code::ResourceExhausted, "STREAMS_BOUND", "refused");
    drop(first);
    node.until_metric("tailcast_ingest_streams", "0").await;
    Caller::open(&node).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_kafka_and_goes_on_when_it_is_back() {
    let node = Node::start().await;
    let mut caller = Caller::open(&node).await.expect("there is room");
    caller.send(quotes(1)).await;
    node.until_metric("tailcast_ingest_messages_total{topic=\"quotes\",outcome=\"acknowledged\"}", "1").await;
    node.kafka.broker_down(None).expect("the broker lives");
    caller.send(quotes(500)).await;
    node.until_metric("tailcast_ingest_in_flight_messages", "500").await;
    node.kafka.broker_up(None).expect("the broker lives");
    caller.requests = None;
    let (all, end) = caller.rest().await;
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(all.len(), 501);
    assert!(all.values().all(|reported| matches!(reported, Reported::At(..))), "{all:?}");
}
