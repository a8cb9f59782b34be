//! Where everything is: nodes, Kafka, the topic, and the processes that are measured.

use clap::{Args, ValueEnum};
use tailcast_client::Endpoint;
use tailcast_proto::TopicName;

use crate::node_metrics::MetricsUrl;

/// Where everything is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Targets {
    /// Where to connect; may be given several times. Connections go round, and one that has to leave a node goes to the next.
    #[arg(long = "url", value_name = "WS_URL", default_value = "ws://127.0.0.1:8080/v1/connect")]
    pub(crate) urls: Vec<Endpoint>,

    /// Publish through the ingest service at this address (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ingest: Option<String>,

    /// How to publish through ingest: by PublishStream, or by Publish calls of up to 500 events.
    #[arg(long, value_enum, default_value_t = Publishers::Stream, value_name = "KIND")]
    pub(crate) publishers: Publishers,

    /// How many publishers work at the same time, each with its own keys [default: 2 streams, 16 unary, 1 straight to Kafka].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publisher_count: Option<u32>,

    /// A Kafka broker: for --create-topic and --compare-kafka, and, without --ingest, to publish straight to (acks=all, murmur2
    /// partitioner).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,

    /// The topic.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: TopicName,

    /// Create the topic first, with so many partitions and the cluster's default replication; one that exists stays as it is.
    #[arg(long, value_name = "PARTITIONS", requires = "kafka", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) create_topic: Option<u16>,

    /// Read the same topic with a bare Kafka consumer too, on a thread beside the connections, and tell its latency beside that
    /// of the deliveries: for thresholds such as 'p50<=1.3*kafka'.
    #[arg(long, requires = "kafka")]
    pub(crate) compare_kafka: bool,

    /// The process id of a server whose CPU time and memory are measured, which has to run; may be given several times.
    #[arg(long = "server-pid", value_name = "PID")]
    pub(crate) server_pids: Vec<u32>,

    /// Where a push node shows its metrics (http://HOST:PORT/metrics), for how it closed sessions, what it holds of records and what
    /// it read from Kafka to catch up. It has to answer; may be given several times.
    #[arg(long = "server-metrics", value_name = "URL")]
    pub(crate) server_metrics: Vec<MetricsUrl>,
}

/// How to publish through ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publishers {
    /// By PublishStream.
    Stream,
    /// By Publish, one call of each publisher at a time.
    Unary,
}

impl Targets {
    /// Returns how many publishers work at the same time.
    pub(crate) fn publisher_count(&self) -> u32 {
        let default = match (&self.ingest, self.publishers) {
            (None, _) => 1,
            (Some(_), Publishers::Stream) => 2,
            (Some(_), Publishers::Unary) => 16,
        };
        self.publisher_count.unwrap_or(default)
    }
}
