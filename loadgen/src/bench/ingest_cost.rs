//! How many events ingest processes per CPU-second, compared with a bare librdkafka producer of the
//! same bytes.
//!
//! Single events by Publish, batches of a hundred by Publish, and batches of a hundred by
//! PublishStream, each in turn with the bare producer, round by round, on the same Kafka. There is
//! no rate limit; both sides keep the same number of events in flight, and every event must be
//! acknowledged. The gRPC client is a separate process, and its CPU is not counted.

mod bare;

mod events;

mod flags;

mod ingest;

mod method;

mod publish;

mod report;

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

pub(crate) use self::{
    flags::{Flags, Publish},
    publish::publish,
    report::Report,
};
use self::{ingest::Ingest, method::Method};
use super::{
    companion::Companion,
    cost::{Cost, alternate},
};
use crate::{kafka::Topic, process};

/// The fraction of the events that is published before a method is measured, so that metadata is
/// loaded and memory allocated.
const WARM_UP_PART: u64 = 20;

/// Checks that there is a service to measure. Fails when the program or the process does not exist.
pub(crate) fn check(flags: &Flags) -> Result<()> {
    match flags.ingest_pid {
        Some(pid) => process::open(pid).map(|_| ()).context("--ingest-pid"),
        None => flags.program().map(|_| ()),
    }
}

/// Measures all methods.
pub(crate) fn measure(runtime: &Runtime, kafka: &str, flags: &Flags) -> Result<Report> {
    let topic = Topic::use_or_create(kafka, flags.topic.as_deref())?;
    let ingest = runtime.block_on(Ingest::use_or_start(kafka, flags))?;
    let mut all = Vec::new();
    for method in flags.methods.iter().copied() {
        all.push((method, rounds(kafka, flags, method, &ingest, &topic)?));
    }
    runtime.block_on(ingest.stop())?;
    topic.leave()?;
    Ok(Report::new(flags, &all))
}

/// Returns the costs of ingest and of the bare producer, round by round.
fn rounds(
    kafka: &str,
    flags: &Flags,
    method: Method,
    ingest: &Ingest,
    topic: &Topic,
) -> Result<Vec<(Cost, Cost)>> {
    let (events, count) = (flags.shape.write()?, flags.events_by(method));
    let bare = |count| bare::measure(kafka, &topic.name, &events, count, method.in_flight());
    let warm_up = (count / WARM_UP_PART).next_multiple_of(method.per_request());
    // The bare producer goes first: it waits for the leaders of a new topic.
    bare(warm_up)?;
    by_ingest(flags, method, ingest, topic, warm_up)?;
    alternate(flags.rounds, || by_ingest(flags, method, ingest, topic, count), || bare(count))
}

/// Publishes through ingest from another process. The CPU is ingest's, including that for
/// connecting and disconnecting the client.
fn by_ingest(flags: &Flags, method: Method, ingest: &Ingest, topic: &Topic, count: u64) -> Result<Cost> {
    Cost::by(
        count,
        || process::cpu(&ingest.process),
        || {
            let publisher = Companion::start(
                "publish",
                &[
                    ("--to", ingest.address.clone()),
                    ("--topic", topic.name.clone()),
                    ("--by", method.to_string()),
                    ("--count", count.to_string()),
                    ("--payload", flags.shape.payload.to_string()),
                    ("--keys", flags.shape.keys.to_string()),
                ],
            )?;
            let acknowledged: u64 = publisher.finish()?;
            ensure!(acknowledged == count, "ingest acknowledged {acknowledged} of {count} events");
            Ok(())
        },
    )
}
