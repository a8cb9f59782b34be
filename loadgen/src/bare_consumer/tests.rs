//! A bare consumer beside publishers of a run, against a broker in this process.

use rdkafka::mocking::MockCluster;
use tailcast_proto::TopicName;
use tokio::time::timeout;

use super::*;
use crate::{
    cli::Cli,
    clock,
    layout::Layout,
    ledger::Ledger,
    plan::Plan,
    publish::{Lateness, PublishPath, Publishing},
};

const TOPIC: &str = "quotes";

/// The parts of a run that publish directly to Kafka: 100 events, the first 20 of them for the
/// warm-up.
struct Scene {
    cli: Cli,
    publishing: Arc<Publishing>,
}

impl Scene {
    fn new(kafka: &str) -> Self {
        let cli = Cli::of(&format!("--kafka {kafka} --topic {TOPIC} --keys 10 --rate 200 --payload 64"));
        let plan = Arc::new(Plan::new(200, 10, 2, Duration::from_millis(500)));
        let publishing = Arc::new(Publishing {
            format: Arc::new(Format::new(7, 64)),
            ledger: Arc::new(Ledger::new(plan.events())),
            plan,
            layout: Layout::new(&cli),
            topic: TOPIC.to_owned(),
            payload: 64,
            lateness: Arc::new(Lateness::new()),
        });
        Self { cli, publishing }
    }

    /// Publishes all events from `start` on, and returns the number of acknowledged events.
    async fn publish(&self, start: Instant) -> u64 {
        let publishing = &self.publishing;
        let publish_path =
            PublishPath::open(&self.cli.targets, &publishing.ledger).await.expect("a producer");
        let due = clock::start(Arc::clone(&publishing.plan), start).expect("a thread");
        let lanes = publish_path.start(publishing, &due, start).join_all();
        timeout(Duration::from_secs(60), lanes).await.expect("everything is published in time");
        publishing.ledger.acknowledged()
    }

    fn read(&self, consumer: BareConsumer, start: Instant) -> Reading {
        consumer.read(Arc::clone(&self.publishing.format), start, 100_000_000).expect("a thread")
    }
}

fn broker() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let broker = MockCluster::new(1).expect("librdkafka has a cluster of its own");
    broker.create_topic(TOPIC, 3, 1).expect("a topic can be made");
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn it_receives_every_event_published_after_it_was_opened() {
    let broker = broker();
    let scene = Scene::new(&broker.bootstrap_servers());
    assert_eq!(scene.publish(Instant::now()).await, 100, "those before are not its own");

    let consumer = BareConsumer::open(&broker.bootstrap_servers(), TOPIC).expect("the topic is there");
    let start = Instant::now();
    let reading = scene.read(consumer, start);
    scene.publish(start).await;
    let seen = reading.finish(100).expect("all of them come");
    assert_eq!((seen.records, seen.latency.0.len()), (100, 80));
    let took = u64::try_from(start.elapsed().as_micros()).expect("it was short");
    assert!((1..=took).contains(&seen.latency.0.max()), "{} of {took} µs", seen.latency.0.max());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_some_events_are_not_reported() {
    let broker = broker();
    let scene = Scene::new(&broker.bootstrap_servers());
    let consumer = BareConsumer::open(&broker.bootstrap_servers(), TOPIC).expect("the topic is there");
    let reading = scene.read(consumer, Instant::now());
    // The timeout expires at once: nothing was published.
    reading.end_at(1, Duration::ZERO);
    let error = reading.finish(1).expect_err("nothing was published");
    assert!(error.to_string().contains("received 0 of 1 acknowledged events"), "{error}");
}

#[test]
fn a_kafka_without_the_topic_is_an_error_that_names_it() {
    let broker = broker();
    let topic = TopicName::parse("nobodys").expect("a topic name");
    let opened = BareConsumer::open(&broker.bootstrap_servers(), topic.as_str());
    let error = opened.err().expect("it does not exist");
    assert!(format!("{error:#}").contains("nobodys"), "{error:#}");
}
