//! The bare producer: this process publishes the events itself, with ingest's settings and no other
//! work.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::events::Written;
use crate::{bench::cost::Cost, kafka::Producer};

/// How long Kafka may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for delivery reports when the maximum number of events is in flight.
const POLL: Duration = Duration::from_millis(1);

/// Publishes `count` events with at most `in_flight` unacknowledged. Connecting is not counted.
pub(crate) fn measure(
    kafka: &str,
    topic: &str,
    events: &Written,
    count: u64,
    in_flight: u64,
) -> Result<Cost> {
    let producer = Producer::new(kafka, "ingest-cost")?;
    publish(&producer, topic, events, 1, in_flight)?;
    Cost::of(count, || publish(&producer, topic, events, count, in_flight))
}

fn publish(producer: &Producer, topic: &str, events: &Written, count: u64, in_flight: u64) -> Result<()> {
    let before = producer.answered();
    for number in 0..count {
        let mut last = (producer.answered(), Instant::now());
        while number - (producer.answered() - before) >= in_flight {
            producer.poll(POLL);
            if producer.answered() > last.0 {
                last = (producer.answered(), Instant::now());
            }
            ensure!(last.1.elapsed() < TIMEOUT, "Kafka does not answer the bare producer");
        }
        producer.send(topic, events.key(number), events.value())?;
    }
    let acknowledged = producer.finish()? - before;
    ensure!(acknowledged == count, "{acknowledged} of {count} events of the bare producer were acknowledged");
    Ok(())
}
