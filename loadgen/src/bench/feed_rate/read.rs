//! A reading process: one side of one round. Its CPU and time count from the moment at which the partitions are assigned.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::{
    Message as _, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde::{Deserialize, Serialize};
use tailcast_proto::{Offset, TopicName};
use tailcast_push::benchmarks::{FeedRun, tail_config};

use super::{backlog, cli::Read};
use crate::process;

/// How long Kafka may take to answer, or to deliver the next record.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest poll, as of the feed.
const POLL: Duration = Duration::from_millis(100);

/// What reading cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) records: u64,
    pub(super) took: Duration,
    pub(super) cpu: Duration,
}

/// Reads everything, and writes what it cost.
///
/// # Errors
///
/// When one record does not come.
pub(super) fn run(read: &Read) -> Result<()> {
    let extents = backlog::extents(&read.from, &read.topic, read.partitions, read.backlog.records)?;
    let cost = match read.feed {
        None => bare(read, &extents)?,
        Some(watch) => {
            let topic = TopicName::parse(&read.topic)?;
            let channels = watch.channels(read.backlog.keys);
            let reading = FeedRun::new(&read.from, &topic, &extents, channels).map_err(|why| anyhow!(why))?;
            measured(read, || reading.run().map_err(|why| anyhow!(why)))?
        }
    };
    serde_json::to_writer(io::stdout(), &cost).context("nobody listens")?;
    writeln!(io::stdout()).context("nobody listens")
}

fn measured(read: &Read, everything: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (start, before) = (Instant::now(), process::own_cpu()?);
    everything()?;
    let (took, cpu) = (start.elapsed(), process::own_cpu()?.saturating_sub(before));
    Ok(Cost { records: read.backlog.records, took, cpu })
}

/// A consumer with the settings of a node's tail, without the statistics, whose records are looked at and dropped.
fn bare(read: &Read, extents: &[(Offset, Offset)]) -> Result<Cost> {
    let mut config = tail_config(&read.from)?;
    config.set("statistics.interval.ms", "0");
    let consumer: BaseConsumer = config.create().context("the consumer cannot be made")?;
    // As the tail does: otherwise it would look for the leaders first.
    consumer.fetch_metadata(Some(&read.topic), PATIENCE).context("Kafka does not answer")?;
    let mut assignment = TopicPartitionList::new();
    for ((first, _), partition) in extents.iter().zip(0..) {
        let at = KafkaOffset::Offset(first.get());
        assignment.add_partition_offset(&read.topic, partition, at)?;
    }
    measured(read, || {
        consumer.incremental_assign(&assignment).context("the partitions cannot be assigned")?;
        let (mut last, mut count) = (Instant::now(), 0);
        while count < read.backlog.records {
            match consumer.poll(POLL) {
                Some(record) => {
                    let record = record.context("Kafka does not deliver")?;
                    ensure!(record.payload().is_some(), "a record has no value");
                    count += 1;
                }
                None => {
                    ensure!(last.elapsed() < PATIENCE, "{count} of {} records came", read.backlog.records);
                    continue;
                }
            }
            if count.is_multiple_of(1_000) {
                last = Instant::now();
            }
        }
        Ok(())
    })
}
