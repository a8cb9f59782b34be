//! How many records per second a node's feed reads, encodes and appends, compared with a bare
//! consumer of the same records.
//!
//! The feed is a node's, with its fence, windows, logs and budget, in a process without sessions.
//! Both sides read the same backlog in turn, round by round, each in its own process, which returns
//! its cost.
//!
//! Compiled only with the feature `feed-rate`, which needs internals of the push service.

mod backlog;

mod flags;

mod read;

mod report;

use anyhow::{Context as _, Result};

use self::flags::Watch;
pub(crate) use self::{
    flags::{Flags, Read},
    read::read,
    report::Report,
};
use super::{
    companion::Companion,
    cost::{Cost, alternate},
};
use crate::kafka::Topic;

/// Publishes the backlog and has it read.
pub(crate) fn measure(kafka: &str, flags: &Flags) -> Result<Report> {
    let topic = Topic::use_or_create(kafka, None)?;
    backlog::publish(kafka, &topic.name, flags.backlog)?;
    // Once without measuring, so that the records are in the broker's memory.
    cost(kafka, flags, &topic, None)?;
    let mut all = Vec::new();
    for watch in flags.watches.iter().copied() {
        let feed = || cost(kafka, flags, &topic, Some(watch));
        all.push((watch, alternate(flags.rounds, feed, || cost(kafka, flags, &topic, None))?));
    }
    topic.leave()?;
    Ok(Report::new(flags, &all))
}

/// Reads the whole backlog in another process: with the feed, or without `feed` with the bare
/// consumer.
fn cost(kafka: &str, flags: &Flags, topic: &Topic, feed: Option<Watch>) -> Result<Cost> {
    let partitions = topic.partitions.context("the topic was created here")?;
    let mut arguments = vec![
        ("--kafka", kafka.to_owned()),
        ("--topic", topic.name.clone()),
        ("--partitions", partitions.to_string()),
        ("--records", flags.backlog.records.to_string()),
        ("--keys", flags.backlog.keys.to_string()),
    ];
    arguments.extend(feed.map(|watch| ("--feed", watch.name().to_owned())));
    Companion::start("read", &arguments)?.finish()
}
