//! The publishing process: records of one size at a fixed rate. Returns the number of acknowledged
//! records.

use std::{
    os::unix::process::parent_id,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::Produce;
use crate::{
    bench::schedule::{Schedule, Step},
    kafka::Producer,
};

/// Publishes all events, including late ones.
pub(crate) fn produce(kafka: &str, flags: &Produce) -> Result<u64> {
    ensure!(flags.keys > 0, "there is at least one key");
    let producer = Producer::new(kafka, "floor")?;
    let schedule = Schedule::new(flags.rate, Duration::ZERO, Duration::MAX);
    let value = vec![b'x'; usize::try_from(flags.payload).context("a value fits in memory")?];
    let start = Instant::now();
    let (parent, mut sent) = (parent_id(), 0);
    while sent < flags.events {
        // A parent killed by SIGKILL cannot kill this process.
        ensure!(parent_id() == parent, "the process that reads the records has ended");
        match schedule.step(sent, start.elapsed()) {
            Step::Send(_) => {
                let key = format!("key-{}", sent % u64::from(flags.keys));
                producer.send(&flags.topic, key.as_bytes(), &value)?;
                sent += 1;
                // Serves the delivery reports that have arrived.
                producer.poll(Duration::ZERO);
            }
            Step::Wait(wait) => producer.poll(wait),
            Step::End => break,
        }
    }
    producer.finish()
}
