//! A reading process: one side of one round. CPU and time count from the assignment of the
//! partitions.

use anyhow::{Result, anyhow};
use tailcast_proto::{Offset, TopicName};
use tailcast_push::benchmarks::FeedRun;

use super::{Read, backlog};
use crate::{bench::cost::Cost, kafka::Consumer};

/// Reads everything.
pub(crate) fn read(kafka: &str, flags: &Read) -> Result<Cost> {
    let records = flags.backlog.records;
    let extents = backlog::extents(kafka, &flags.topic, flags.partitions, records)?;
    let Some(watch) = flags.feed else { return bare(kafka, flags, &extents) };
    let topic = TopicName::parse(&flags.topic)?;
    let channels = watch.channels(flags.backlog.keys);
    let reading = FeedRun::new(kafka, &topic, &extents, channels).map_err(|why| anyhow!(why))?;
    Cost::of(records, || reading.run().map_err(|why| anyhow!(why)))
}

/// Reads with a bare consumer.
fn bare(kafka: &str, flags: &Read, extents: &[(Offset, Offset)]) -> Result<Cost> {
    let consumer = Consumer::new(kafka, "feed-rate")?;
    // As a node's tail does; otherwise the leaders would be looked up during the measurement.
    consumer.partitions(&flags.topic)?;
    Cost::of(flags.backlog.records, || {
        consumer.assign(&flags.topic, extents.iter().map(|(first, _)| first.get()))?;
        consumer.read(flags.backlog.records)
    })
}
