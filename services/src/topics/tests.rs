//! Tests with the in-process broker, and without a broker. Ids, growth and deletion of topics need
//! a real Kafka and are tested end to end.

use std::time::{Duration, SystemTime};

use prometheus_client::registry::Registry;
use tailcast_proto::TopicName;

use super::{Epochs, LookupError, LookupFailure, Topic, Topics, TopicsConfig};
use crate::in_process::InProcess;
use crate::kafka::Settings;
use crate::lifecycle::{Lifecycle, Phase};
use crate::readiness::{Readiness, State};

const DEADLINE: Duration = Duration::from_secs(20);

struct Node {
    lifecycle: Lifecycle,
    readiness: Readiness,
    topics: Topics,
}

fn node(kafka: &Settings, epochs: Epochs) -> Node {
    node_until(Phase::Draining, kafka, epochs)
}

/// A node that looks up topics until this phase of its end.
fn node_until(until: Phase, kafka: &Settings, epochs: Epochs) -> Node {
    node_with(until, Duration::from_millis(500), kafka, epochs)
}

fn node_with(until: Phase, answer_within: Duration, kafka: &Settings, epochs: Epochs) -> Node {
    let (lifecycle, readiness) = (Lifecycle::new(), Readiness::new());
    let config = TopicsConfig {
        refresh: Duration::from_millis(200),
        unknown_for: Duration::from_secs(60),
        answer_within,
    };
    let condition = readiness.condition("kafka", "waiting for metadata");
    let client = kafka.directory().expect("the settings are right");
    let mut registry = Registry::default();
    let topics = Topics::start(&lifecycle, until, client, epochs, config, condition, &mut registry);
    Node { lifecycle, readiness, topics: topics.expect("a client and a thread") }
}

impl Node {
    async fn until(&self, claim: &str, holds: impl Fn(&State) -> bool) {
        let mut watch = self.readiness.watch();
        if tokio::time::timeout(DEADLINE, watch.wait_for(|state| holds(state))).await.is_err() {
            panic!("not {claim} within {DEADLINE:?}: {}", self.readiness.state());
        }
    }

    async fn ends(self) {
        let ending = self.lifecycle.finish(DEADLINE).await;
        assert!(ending.is_clean(), "{ending}");
    }
}

fn broker() -> InProcess {
    InProcess::start(1).expect("the broker starts")
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a topic name")
}

#[tokio::test]
async fn a_topic_is_looked_up_with_its_epoch_and_partitions_and_then_remembered() {
    let broker = broker();
    broker.create_topic(&name("quotes"), 3).expect("a new topic");
    let node = node(&broker.settings(), broker.epochs());
    assert_eq!(node.topics.cached(&name("quotes")), None);
    let Epochs::InProcess(epoch) = broker.epochs() else {
        panic!("the in-process broker has its own epochs")
    };
    let expected = Topic { name: name("quotes"), epoch, partitions: 3 };
    assert_eq!(node.topics.lookup(&name("quotes")).await, Ok(expected.clone()));
    assert_eq!(node.topics.cached(&name("quotes")), Some(expected));
    node.until("ready", State::is_ready).await;
    node.ends().await;
}

#[tokio::test]
async fn an_unknown_topic_is_not_created_by_looking_it_up() {
    let broker = broker();
    let node = node(&broker.settings(), broker.epochs());
    let unknown = Err(LookupError::Unknown { topic: name("chat") });
    assert_eq!(node.topics.lookup(&name("chat")).await, unknown);
    assert_eq!(node.topics.ask(&name("chat")).await, unknown);
    broker.create_topic(&name("chat"), 1).expect("nobody has created it");
    node.ends().await;
}

#[tokio::test]
async fn a_topic_that_is_created_later_is_found() {
    let broker = broker();
    let node = node(&broker.settings(), broker.epochs());
    let unknown = Err(LookupError::Unknown { topic: name("chat") });
    assert_eq!(node.topics.lookup(&name("chat")).await, unknown);
    broker.create_topic(&name("chat"), 2).expect("a new topic");
    // Within `unknown_for`, the answer of a moment ago is believed.
    assert_eq!(node.topics.lookup(&name("chat")).await, unknown);
    assert_eq!(node.topics.ask(&name("chat")).await.map(|topic| topic.partitions), Ok(2));
    assert_eq!(node.topics.lookup(&name("chat")).await.map(|topic| topic.partitions), Ok(2));
    node.ends().await;
}

#[tokio::test]
async fn lookups_at_once_share_one_request() {
    let broker = broker();
    broker.create_topic(&name("quotes"), 3).expect("a new topic");
    let node = node(&broker.settings(), broker.epochs());
    node.until("ready", State::is_ready).await;
    let before = node.topics.shared.rounds.get();
    let quotes = name("quotes");
    let (a, b, c) =
        tokio::join!(node.topics.lookup(&quotes), node.topics.lookup(&quotes), node.topics.lookup(&quotes));
    assert!(a.is_ok() && a == b && b == c);
    // One request for the three, and refreshes that fell due meanwhile.
    assert!(node.topics.shared.rounds.get() - before <= 3, "{}", node.topics.shared.rounds.get() - before);
    node.ends().await;
}

#[tokio::test]
async fn without_kafka_a_node_waits_and_lookups_say_so() {
    // Port 1 of loopback has no listener.
    let node = node(&Settings::at("127.0.0.1:1"), Epochs::Kafka);
    let error = node.topics.lookup(&name("quotes")).await.expect_err("no broker can answer");
    assert!(matches!(error, LookupError::Unavailable { reason: LookupFailure::Kafka(_), .. }), "{error}");
    let says_why = |state: &State| {
        let text = state.to_string();
        let parts = ["kafka: Kafka has not answered since 20", "127.0.0.1:1: ", "Connection refused"];
        parts.iter().all(|part| text.contains(part))
    };
    node.until("reporting why", |state| !state.is_ready() && says_why(state)).await;
    assert!(!node.lifecycle.is_draining(), "an absent Kafka is no reason to end");
    node.ends().await;
}

#[tokio::test]
async fn the_first_report_of_an_outage_has_its_beginning_and_the_broker_with_its_error() {
    // The broker and its error came only with the second failed request, seconds later, and the
    // time was that of the first timeout.
    let began = SystemTime::now();
    let timeout = Duration::from_millis(1_500);
    let node = node_with(Phase::Draining, timeout, &Settings::at("127.0.0.1:1"), Epochs::Kafka);
    let mut watch = node.readiness.watch();
    let reported = watch.wait_for(|state| state.to_string().contains("has not answered since"));
    let reported = tokio::time::timeout(DEADLINE, reported).await.expect("it is reported in time");
    let reported = reported.expect("the sender lives").to_string();
    assert!(reported.contains("Z: 127.0.0.1:1: "), "{reported}");
    assert!(reported.contains("Connection refused"), "{reported}");
    let since = reported.split_once("since ").and_then(|(_, rest)| rest.split_once("Z")).expect("a time").0;
    let since = humantime::parse_rfc3339(&format!("{since}Z")).expect("a time");
    assert!(since <= began + Duration::from_millis(500), "{reported}, began {began:?}");
    node.ends().await;
}

#[tokio::test]
async fn a_node_is_ready_again_when_kafka_is_back_and_knows_its_topics_meanwhile() {
    let broker = broker();
    broker.create_topic(&name("quotes"), 3).expect("a new topic");
    let node = node(&broker.settings(), broker.epochs());
    node.topics.lookup(&name("quotes")).await.expect("it exists");
    broker.broker_down(None).expect("it goes down");
    node.until("not ready", |state| !state.is_ready()).await;
    assert!(node.topics.lookup(&name("quotes")).await.is_ok());
    broker.broker_up(None).expect("it comes up");
    node.until("ready", State::is_ready).await;
    node.ends().await;
}

#[tokio::test]
async fn a_part_that_serves_on_while_the_process_drains_is_answered_until_it_stops() {
    let broker = broker();
    broker.create_topic(&name("quotes"), 3).expect("a new topic");
    let node = node_until(Phase::Closing, &broker.settings(), broker.epochs());
    let session = node.lifecycle.hold().expect("it does not drain");
    node.lifecycle.drain();
    assert!(node.topics.ask(&name("quotes")).await.is_ok(), "it drains, and is not at its end");
    drop(session);
    node.ends().await;
}

#[tokio::test]
async fn a_draining_node_asks_for_nothing_more() {
    let broker = broker();
    let node = node(&broker.settings(), broker.epochs());
    node.until("ready", State::is_ready).await;
    let topics = node.topics.clone();
    node.ends().await;
    let error = topics.lookup(&name("quotes")).await.expect_err("the thread has ended");
    assert!(matches!(error, LookupError::Unavailable { reason: LookupFailure::Draining, .. }), "{error}");
}
