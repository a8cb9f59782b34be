//! A Kafka broker inside this process, for tests and for `tailcast dev`: librdkafka's mock cluster,
//! which speaks the real protocol on loopback. Records are kept in memory, at most 5 MB per
//! partition, and are lost with the process.
//!
//! The mock cluster belongs to one thread, which serves the handles in turn; it ends with the last
//! handle.
//!
//! Invariant: a topic exists only after [`InProcess::create_topic`], because clients are configured
//! not to create topics. (A bare librdkafka producer would.)

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tailcast_proto::{Epoch, TopicName};

use crate::kafka::Settings;
use crate::topics::Epochs;

pub use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Work = Box<dyn FnOnce(&Cluster) + Send>;

/// Capacity of the queue to the cluster's thread; when it is full, callers wait.
const WORK_MAX: usize = 16;
/// The mock cluster holds each fetch for this whole time, even if there are records, which adds to
/// the latency. Not less, because an idle consumer fetches at this interval.
const FETCH_WAIT_MS: &str = "2";

/// A handle to the broker, which lives as long as its last handle.
#[derive(Clone, Debug)]
pub struct InProcess {
    work: Arc<SyncSender<Work>>,
    brokers: String,
    epoch: Epoch,
}

/// Why a request to the in-process broker failed.
#[derive(Debug, thiserror::Error)]
pub enum InProcessError {
    /// The thread could not be started.
    #[error("cannot start the thread of the in-process broker: {0}")]
    Thread(#[from] std::io::Error),
    /// librdkafka refused.
    #[error("the in-process broker refused the request: {0}")]
    Kafka(#[from] KafkaError),
    /// The thread has died.
    #[error("the thread of the in-process broker has ended")]
    Died,
}

impl InProcess {
    /// Starts that many brokers, on free ports of loopback. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When there is no thread or no port left.
    pub fn start(brokers: u8) -> Result<Self, InProcessError> {
        let (work, works) = sync_channel(WORK_MAX);
        let (begun, has_begun) = sync_channel(1);
        std::thread::Builder::new().name("in-process-kafka".to_owned()).spawn(
            move || match MockCluster::new(i32::from(brokers)) {
                Ok(cluster) => {
                    let _starter_may_be_gone = begun.send(Ok(cluster.bootstrap_servers()));
                    serve(&cluster, &works);
                }
                Err(error) => {
                    let _starter_may_be_gone = begun.send(Err(error));
                }
            },
        )?;
        let brokers = has_begun.recv().map_err(|_| InProcessError::Died)??;
        let epoch = Epoch::from_bits(fastrand::i64(..), fastrand::i64(..));
        Ok(Self { work: Arc::new(work), brokers, epoch })
    }

    /// The addresses, comma-separated: `127.0.0.1:PORT`.
    pub fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// Settings to reach these brokers, with waits adjusted to the mock cluster.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::at(&self.brokers);
        settings.properties.insert("fetch.wait.max.ms".to_owned(), FETCH_WAIT_MS.to_owned());
        settings
    }

    /// The mock cluster has no topic ids: all topics share an epoch chosen at the start.
    pub fn epochs(&self) -> Epochs {
        Epochs::InProcess(self.epoch)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When the topic exists, or has more partitions than librdkafka supports.
    pub fn create_topic(&self, topic: &TopicName, partitions: u16) -> Result<(), InProcessError> {
        let topic = topic.clone();
        Ok(self.on_cluster(move |cluster| cluster.create_topic(topic.as_ref(), i32::from(partitions), 1))??)
    }

    /// Closes the connections of a broker (1 is the first; `None` is every one) and refuses new
    /// ones.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn broker_down(&self, broker: Option<u8>) -> Result<(), InProcessError> {
        Ok(self.on_cluster(move |cluster| cluster.broker_down(broker.map_or(-1, i32::from)))??)
    }

    /// Lets a broker accept connections again.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn broker_up(&self, broker: Option<u8>) -> Result<(), InProcessError> {
        Ok(self.on_cluster(move |cluster| cluster.broker_up(broker.map_or(-1, i32::from)))??)
    }

    /// Fails the next requests of this kind, one with each of `errors` in order.
    ///
    /// # Errors
    /// When the broker has died.
    pub fn request_errors(
        &self,
        api: RDKafkaApiKey,
        errors: Vec<RDKafkaRespErr>,
    ) -> Result<(), InProcessError> {
        self.on_cluster(move |cluster| cluster.request_errors(api, &errors))
    }

    fn on_cluster<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Result<T, InProcessError> {
        let (answer, answered) = sync_channel(1);
        let work = Box::new(move |cluster: &Cluster| {
            // The receiver waits below until this is sent.
            let _ = answer.send(run(cluster));
        });
        self.work.send(work).map_err(|_| InProcessError::Died)?;
        answered.recv().map_err(|_| InProcessError::Died)
    }
}

fn serve(cluster: &Cluster, works: &Receiver<Work>) {
    while let Ok(work) = works.recv() {
        work(cluster);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::parse(text).expect("a topic name")
    }

    #[test]
    fn what_is_produced_is_consumed() {
        let broker = InProcess::start(1).expect("the broker starts");
        broker.create_topic(&name("quotes"), 1).expect("a new topic");
        let producer: ThreadedProducer<DefaultProducerContext> =
            broker.settings().producer().expect("the settings are right").create().expect("a producer");
        producer
            .send(BaseRecord::to("quotes").key("AAPL").payload("187.20"))
            .map_err(|(error, _)| error)
            .expect("room");
        producer.flush(Duration::from_secs(20)).expect("the broker acknowledges");

        let tail: BaseConsumer =
            broker.settings().tail().expect("the settings are right").create().expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset("quotes", 0, Offset::Offset(0)).expect("an offset");
        tail.incremental_assign(&partitions).expect("it can be assigned");
        let deadline = Instant::now() + Duration::from_secs(20);
        let record = loop {
            assert!(Instant::now() < deadline, "nothing came");
            match tail.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => break record.detach(),
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        };
        assert_eq!(
            (record.offset(), record.key(), record.payload()),
            (0, Some(&b"AAPL"[..]), Some(&b"187.20"[..]))
        );
    }

    #[test]
    fn a_topic_is_created_once() {
        let broker = InProcess::start(1).expect("the broker starts");
        broker.create_topic(&name("quotes"), 1).expect("a new topic");
        assert!(matches!(broker.create_topic(&name("quotes"), 1), Err(InProcessError::Kafka(_))));
    }

    #[test]
    fn each_start_is_another_epoch() {
        let epochs = [(); 2].map(|()| InProcess::start(1).expect("the broker starts").epochs());
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn a_handle_may_be_used_from_any_thread() {
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        shared(&InProcess::start(1).expect("the broker starts"));
    }
}
