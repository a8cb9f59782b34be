//! The Kafka of a scenario.
//!
//! A scenario does not know which one it has. The in-process broker starts in milliseconds and is
//! always available, and each scenario has its own. Apache Kafka is the one that users run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tailcast_proto::{PartitionId, TopicName};
use tailcast_services::in_process::InProcess;
use tailcast_services::kafka::Settings;
use tailcast_services::topics::Epochs;

use crate::apache_kafka::{ApacheKafka, NodeAction};
use crate::deadline::{PATIENCE, eventually};
use crate::plain_client::{admin, plain_client};
use crate::topic::Topic;

/// A Kafka, cheap to clone.
#[derive(Clone)]
pub enum Broker {
    /// The broker inside this process, one per scenario.
    InProcess(InProcess),
    /// The Apache Kafka that the scenarios of this process share.
    Shared(&'static ApacheKafka),
    /// An Apache Kafka of the scenario's own, which it may disrupt.
    Own(Arc<ApacheKafka>),
}

impl Broker {
    /// Returns a broker that the scenario may disrupt: itself if it is in-process, otherwise an
    /// Apache Kafka of one node that is not shared.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn of_its_own(self) -> Self {
        match self {
            Self::InProcess(_) | Self::Own(_) => self,
            Self::Shared(_) => Self::of_nodes(1),
        }
    }

    /// Starts an Apache Kafka of 1 or 3 nodes that is not shared.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn of_nodes(nodes: u32) -> Self {
        Self::start(nodes, &[])
    }

    /// Starts an Apache Kafka of one node that is not shared, and that creates missing topics on
    /// request, as Kafka does by default.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn that_creates_topics() -> Self {
        Self::start(1, &["--creates-topics"])
    }

    fn start(nodes: u32, options: &[&str]) -> Self {
        let kafka = tokio::task::block_in_place(|| ApacheKafka::start(nodes, options));
        Self::Own(Arc::new(kafka.expect("Apache Kafka starts")))
    }

    /// Returns whether this is the in-process broker, whose partitions keep 5 MB.
    pub fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// Returns `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        match self {
            Self::InProcess(broker) => broker.brokers(),
            Self::Shared(kafka) => kafka.bootstrap().to_owned(),
            Self::Own(kafka) => kafka.bootstrap().to_owned(),
        }
    }

    /// Returns the Kafka settings for nodes.
    pub fn settings(&self) -> Settings {
        match self {
            Self::InProcess(broker) => broker.settings(),
            Self::Shared(_) | Self::Own(_) => Settings::at(&self.bootstrap()),
        }
    }

    /// Returns the source of the epochs of its topics.
    pub fn epochs(&self) -> Epochs {
        match self {
            Self::InProcess(broker) => broker.epochs(),
            Self::Shared(_) | Self::Own(_) => Epochs::Kafka,
        }
    }

    /// Makes Kafka unavailable at once. Only with a broker of the scenario's own.
    pub fn go_down(&self) {
        match self {
            Self::InProcess(broker) => broker.broker_down(None).expect("the in-process broker goes down"),
            Self::Own(kafka) => kafka.node(NodeAction::Kill, 1),
            Self::Shared(_) => panic!("this Kafka is shared; ask for one `of_its_own`"),
        }
    }

    /// Makes Kafka available again, with its data. Only after [`go_down`](Self::go_down).
    pub fn come_back(&self) {
        match self {
            Self::InProcess(broker) => broker.broker_up(None).expect("the in-process broker comes up"),
            Self::Own(kafka) => kafka.node(NodeAction::Start, 1),
            Self::Shared(_) => panic!("this Kafka is shared; ask for one `of_its_own`"),
        }
    }

    /// Stops Kafka from answering, without losing data. Only with a broker of the scenario's own.
    pub fn stall(&self) {
        match self {
            Self::InProcess(_) => self.go_down(),
            Self::Own(kafka) => kafka.node(NodeAction::Pause, 1),
            Self::Shared(_) => panic!("this Kafka is shared; ask for one `of_its_own`"),
        }
    }

    /// Lets Kafka answer again. Only after [`stall`](Self::stall).
    pub fn resume(&self) {
        match self {
            Self::InProcess(_) => self.come_back(),
            Self::Own(kafka) => kafka.node(NodeAction::Resume, 1),
            Self::Shared(_) => panic!("this Kafka is shared; ask for one `of_its_own`"),
        }
    }

    /// Kills the broker that leads a partition. Only with Apache Kafka of the scenario's own.
    ///
    /// # Panics
    ///
    /// When the partition has no leader.
    pub fn crash_leader_of(&self, topic: &Topic, partition: PartitionId) {
        let Self::Own(kafka) = self else {
            panic!("only an Apache Kafka of the scenario's own has brokers to kill")
        };
        let leaders = self.leaders(topic);
        let leader =
            leaders.get(&partition).unwrap_or_else(|| panic!("{partition} has no leader: {leaders:?}"));
        kafka.node(NodeAction::Kill, *leader);
    }

    /// Creates a topic with a unique name, and waits until it can be written.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn create_topic(&self, name: &str, partitions: u32) -> Topic {
        let topic = self.name_topic(name, partitions);
        self.create(&topic).await;
        topic
    }

    /// Returns a topic with a unique name, without creating it.
    pub fn name_topic(&self, name: &str, partitions: u32) -> Topic {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = TopicName::parse(&name).expect("a scenario's topics are valid");
        Topic::new(name, partitions, self.bootstrap())
    }

    /// Creates a named topic, and waits until it can be written.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn create(&self, topic: &Topic) {
        match self {
            Self::InProcess(broker) => {
                let partitions = u16::try_from(topic.partitions()).expect("a scenario has few partitions");
                broker.create_topic(topic.name(), partitions).expect("the in-process broker creates a topic");
            }
            Self::Shared(_) | Self::Own(_) => self.create_with(topic, &[]).await,
        }
    }

    /// Creates a named topic with a configuration. Apache Kafka only.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn create_with(&self, topic: &Topic, configuration: &[(&str, &str)]) {
        let partitions = i32::try_from(topic.partitions()).expect("a scenario has few partitions");
        // -1: the brokers' default number of replicas.
        let mut new = NewTopic::new(topic.name().as_ref(), partitions, TopicReplication::Fixed(-1));
        new.config.extend_from_slice(configuration);
        let admin = admin(&self.bootstrap());
        // Kafka deletes topics asynchronously, and until then the name is in use.
        let _created = eventually(
            "Kafka creates the topic",
            async || admin.create_topics([&new], &AdminOptions::new()).await,
            |created| matches!(created.as_deref(), Ok([Ok(_)])),
        )
        .await;
        topic.available().await;
    }

    /// Returns the leader of each partition that has one.
    fn leaders(&self, topic: &Topic) -> BTreeMap<PartitionId, u32> {
        let consumer: BaseConsumer = plain_client(&self.bootstrap()).create().expect("a client starts");
        let name = topic.name().as_ref();
        let metadata = tokio::task::block_in_place(|| consumer.fetch_metadata(Some(name), PATIENCE));
        let metadata = metadata.expect("Kafka returns its metadata");
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions
            .filter_map(|of| Some((PartitionId::try_from(of.id()).ok()?, u32::try_from(of.leader()).ok()?)))
            .collect()
    }
}
