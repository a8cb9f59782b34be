//! Who publishes when: ingest and the bare producer in turn, so that both have the same machine.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{bare, cli::Cli, node::Node, way::Way};
use crate::bench::{companion::Companion, topic::Topic};

/// Of how many events as many are published once before a way is measured: topics are known then, and memory is there.
const WARM_UP_PART: u64 = 20;

/// What publishing cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) events: u64,
    pub(super) took: Duration,
    /// Of the process that is measured.
    pub(super) cpu: Duration,
}

/// One measurement of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) ingest: Cost,
    pub(super) bare: Cost,
}

/// Measures all ways, and returns the rounds of each.
///
/// # Errors
///
/// When Kafka or the node do not answer, or one event is not acknowledged.
pub(super) fn measure(cli: &Cli) -> Result<Vec<(Way, Vec<Round>)>> {
    let topic = Topic::take_or_create(cli.kafka(), cli.topic.as_deref())?;
    let node = Node::take_or_start(cli)?;
    let mut all = Vec::new();
    for way in cli.ways.iter().copied() {
        all.push((way, rounds(cli, way, &node, &topic)?));
    }
    drop(node);
    topic.leave()?;
    Ok(all)
}

fn rounds(cli: &Cli, way: Way, node: &Node, topic: &Topic) -> Result<Vec<Round>> {
    let (events, count) = (cli.shape.write()?, cli.events_by(way));
    let bare = |count| bare::measure(cli.kafka(), &topic.name, &events, count, way.in_flight());
    let warm_up = (count / WARM_UP_PART).next_multiple_of(way.per_request());
    // The bare producer first: it waits for the leaders of a topic that was created a moment ago.
    bare(warm_up)?;
    ingest(cli, way, node, topic, warm_up)?;
    let round = |number: u8| {
        // Each goes first as often as second, but for one.
        if number.is_multiple_of(2) {
            let ingest = ingest(cli, way, node, topic, count)?;
            Ok(Round { ingest, bare: bare(count)? })
        } else {
            let bare = bare(count)?;
            Ok(Round { bare, ingest: ingest(cli, way, node, topic, count)? })
        }
    };
    (0..cli.rounds).map(round).collect()
}

/// Has another process publish through the node. The CPU is the node's, with what a client's coming and going costs it.
fn ingest(cli: &Cli, way: Way, node: &Node, topic: &Topic, count: u64) -> Result<Cost> {
    let (start, before) = (Instant::now(), node.cpu()?);
    let publisher = Companion::start(
        "publish",
        &[
            ("--to", node.address.clone()),
            ("--topic", topic.name.clone()),
            ("--by", way.to_string()),
            ("--count", count.to_string()),
            ("--payload", cli.shape.payload.to_string()),
            ("--keys", cli.shape.keys.to_string()),
        ],
    )?;
    let acknowledged = publisher.finish()?;
    let (took, cpu) = (start.elapsed(), node.cpu()?.saturating_sub(before));
    ensure!(acknowledged == count, "{acknowledged} of {count} events were acknowledged by ingest");
    Ok(Cost { events: count, took, cpu })
}
