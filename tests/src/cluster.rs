//! Ingest and push nodes over one Kafka.

use crate::broker::Broker;
use crate::configuration::Configuration;
use crate::node::Node;
use crate::publisher::Publisher;
use crate::socket::Wire;
use crate::subscriber::Subscriber;

/// Running nodes.
pub struct Cluster {
    broker: Broker,
    publishers: Vec<Publisher>,
    /// The ingest nodes.
    pub ingest: Vec<Node>,
    /// The push nodes.
    pub push: Vec<Node>,
}

/// The description of a cluster.
pub struct Plan {
    broker: Broker,
    ingest: usize,
    push: usize,
    values: Vec<(String, String)>,
}

impl Cluster {
    /// Describes a cluster of one ingest and one push node with the default configuration.
    pub fn on(broker: &Broker) -> Plan {
        Plan { broker: broker.clone(), ingest: 1, push: 1, values: Vec::new() }
    }

    /// Returns the Kafka of the cluster.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Returns a client of the first ingest node.
    ///
    /// # Panics
    ///
    /// When the cluster was planned without one.
    pub fn publisher(&self) -> &Publisher {
        self.publisher_at(0)
    }

    /// Returns a client of an ingest node.
    ///
    /// # Panics
    ///
    /// When the cluster was planned without that node.
    pub fn publisher_at(&self, node: usize) -> &Publisher {
        &self.publishers[node]
    }

    /// Opens a session on a push node, in protobuf.
    pub async fn subscriber(&self, node: usize) -> Subscriber {
        Subscriber::connect(self.push[node].address(), Wire::Proto).await
    }
}

impl Plan {
    /// Sets the number of ingest nodes.
    pub fn ingest(self, nodes: usize) -> Self {
        Self { ingest: nodes, ..self }
    }

    /// Sets the number of push nodes.
    pub fn push(self, nodes: usize) -> Self {
        Self { push: nodes, ..self }
    }

    /// Sets a key of the configuration of all nodes, to a value in the form of a flag.
    #[expect(clippy::needless_pass_by_value, reason = "a value reads better than a reference to one")]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.values.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts the nodes and waits until all are ready.
    pub async fn start(self) -> Cluster {
        let cluster = self.launch();
        for node in cluster.ingest.iter().chain(&cluster.push) {
            node.ready().await;
        }
        cluster
    }

    /// Starts the nodes without waiting.
    pub fn launch(mut self) -> Cluster {
        self = self.set("ingest.listen", "127.0.0.1:0").set("push.listen", "127.0.0.1:0");
        let configuration = || Configuration::with(&self.values);
        let ingest: Vec<_> = (0..self.ingest).map(|_| Node::ingest(&self.broker, configuration())).collect();
        let push = (0..self.push).map(|_| Node::push(&self.broker, configuration())).collect();
        let publishers = ingest.iter().map(|node| Publisher::to(node.address())).collect();
        Cluster { broker: self.broker, publishers, ingest, push }
    }
}
