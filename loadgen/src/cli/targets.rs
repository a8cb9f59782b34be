//! The systems under test: nodes, Kafka, the topic, and the measured processes.

use clap::{Args, ValueEnum};
use tailcast_client::Endpoint;
use tailcast_proto::TopicName;

use crate::node_metrics::MetricsUrl;

/// The systems under test.
#[derive(Debug, Clone, Args)]
pub(crate) struct Targets {
    /// The node to connect to; may be given several times. Connections are spread over the nodes,
    /// and a connection that must leave one goes to the next.
    #[arg(long = "url", value_name = "WS_URL", default_value = "ws://127.0.0.1:8080/v1/connect")]
    pub(crate) urls: Vec<Endpoint>,

    /// Publish through the ingest service at this address (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ingest: Option<String>,

    /// How to publish through ingest: by PublishStream, or by Publish calls of up to 500 events.
    #[arg(long, value_enum, default_value_t = Publishers::Stream, value_name = "KIND")]
    pub(crate) publishers: Publishers,

    /// The number of concurrent publishers, each with its own keys [default: 2 streams, 16 unary, 1
    /// directly to Kafka].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publisher_count: Option<u32>,

    /// A Kafka broker: for --create-topic and --compare-kafka, and without --ingest to publish to
    /// directly (acks=all, murmur2 partitioner).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,

    /// The topic.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: TopicName,

    /// Create the topic first, with this many partitions and the cluster's default replication; an
    /// existing topic is left unchanged.
    #[arg(long, value_name = "PARTITIONS", requires = "kafka", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) create_topic: Option<u16>,

    /// Also read the topic with a bare Kafka consumer, on a separate thread, and report its latency
    /// for comparison: for thresholds such as 'p50<=1.3*kafka'.
    #[arg(long, requires = "kafka")]
    pub(crate) compare_kafka: bool,

    /// The process id of a running server whose CPU time and memory to measure; may be given
    /// several times.
    #[arg(long = "server-pid", value_name = "PID")]
    pub(crate) server_pids: Vec<u32>,

    /// The metrics page of a push node (http://HOST:PORT/metrics), for its session closes, the
    /// memory of its records, and the bytes it read from Kafka to catch up. It must answer; may be
    /// given several times.
    #[arg(long = "server-metrics", value_name = "URL")]
    pub(crate) server_metrics: Vec<MetricsUrl>,
}

/// How to publish through ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publishers {
    /// By PublishStream.
    Stream,
    /// By Publish, one call per publisher at a time.
    Unary,
}

impl Targets {
    /// Returns the number of concurrent publishers.
    pub(crate) fn publisher_count(&self) -> u32 {
        let default = match (&self.ingest, self.publishers) {
            (None, _) => 1,
            (Some(_), Publishers::Stream) => 2,
            (Some(_), Publishers::Unary) => 16,
        };
        self.publisher_count.unwrap_or(default)
    }
}
