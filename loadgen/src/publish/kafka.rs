//! A lane that publishes directly to Kafka.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rdkafka::{
    ClientConfig, ClientContext,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use tokio::time::{Instant, sleep};

use super::Lane;
use crate::ledger::Ledger;

/// How long Kafka may take to answer for the events in flight at the end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait when the producer's queue is full.
const FULL: Duration = Duration::from_millis(2);

/// How often to check whether all events are answered.
const ANSWERS: Duration = Duration::from_millis(10);

/// The producer that all lanes share.
pub(crate) type Producer = Arc<ThreadedProducer<Answers>>;

/// Records Kafka's answers.
#[derive(Debug)]
pub(crate) struct Answers {
    ledger: Arc<Ledger>,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    /// The event's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(_) => self.ledger.acknowledge(number as u64),
            Err((error, _)) => {
                let code =
                    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
                self.ledger.unknown(&code);
            }
        }
    }
}

/// Creates the producer. It connects when the first event is published.
pub(super) fn producer(broker: &str, ledger: &Arc<Ledger>) -> Result<Producer> {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("client.id", "loadgen")
        .set("acks", "all")
        // Retries must neither repeat nor reorder: that is what the run verifies.
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        // Batches without adding more latency than the measurement resolves.
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "200000")
        .create_with_context(Answers { ledger: Arc::clone(ledger) })
        .context("the Kafka producer cannot be created")?;
    Ok(Arc::new(producer))
}

pub(super) async fn run(mut lane: Lane, producer: Producer) -> Result<()> {
    while let Some(batch) = lane.take().await {
        let mut backpressured = false;
        for index in batch {
            let number = lane.number(index);
            let event = lane.publishing.plan.event(number);
            let publishing = &lane.publishing;
            let (key, value) = (publishing.layout.key(event.key), publishing.format.write(&event));
            let opaque = usize::try_from(number).context("the run is too long")?;
            let mut record =
                BaseRecord::with_opaque_to(&lane.publishing.topic, opaque).key(&key[..]).payload(&value[..]);
            while let Err((error, refused)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error).context("librdkafka rejected an event");
                }
                record = refused;
                backpressured = true;
                sleep(FULL).await;
            }
        }
        if backpressured {
            lane.note_backpressure();
        }
    }
    // Not a flush, which blocks: the lane must end when the run does. The producer's own thread
    // handles the answers.
    let deadline = Instant::now() + TIMEOUT;
    while producer.in_flight_count() > 0 {
        ensure!(Instant::now() < deadline, "Kafka did not answer for all events");
        sleep(ANSWERS).await;
    }
    Ok(())
}
