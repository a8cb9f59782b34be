//! A bare producer: with ingest's settings, and counters of delivery reports.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientContext,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};
use tailcast_services::kafka::Settings;

/// How long Kafka may take to answer for the records in flight at the end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for delivery reports while the producer's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(2);

/// Counts delivery reports.
#[derive(Default)]
struct Answers {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }
}

/// A bare producer. Delivery reports are served on the calling thread.
pub(crate) struct Producer(BaseProducer<Answers>);

impl Producer {
    /// Creates a producer with a client id.
    pub(crate) fn new(kafka: &str, name: &str) -> Result<Self> {
        let mut settings = Settings::at(kafka).producer()?;
        // The value that ingest derives from ingest.in_flight_messages_max.
        settings.set("client.id", name).set("queue.buffering.max.messages", "200000");
        let producer = settings.create_with_context(Answers::default());
        producer.map(Self).context("the Kafka producer cannot be created")
    }

    /// Queues a record; waits while the queue is full.
    pub(crate) fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        while let Err((error, rejected)) = self.0.send(record) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            ensure!(is_full, "librdkafka rejected a record: {error}");
            record = rejected;
            self.poll(QUEUE_FULL);
        }
        Ok(())
    }

    /// Serves delivery reports; waits at most this long for the first one.
    pub(crate) fn poll(&self, within: Duration) {
        self.0.poll(within);
    }

    /// Returns the number of delivery reports.
    pub(crate) fn answered(&self) -> u64 {
        self.0.context().acknowledged.load(Relaxed) + self.0.context().failed.load(Relaxed)
    }

    /// Waits for all delivery reports, and returns the number of records acknowledged since the
    /// producer was created. Fails when Kafka does not answer in time.
    pub(crate) fn finish(&self) -> Result<u64> {
        self.0.flush(TIMEOUT).context("Kafka did not answer for all records")?;
        Ok(self.0.context().acknowledged.load(Relaxed))
    }
}
