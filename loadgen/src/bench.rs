//! `bench`: measures two sides in turn, and reports the ratios.
//!
//! A benchmark that measures its own CPU moves all other work to separate processes: this program
//! with another subcommand (`companion`), nodes, and `loadgen`. Each measurement has a new node and
//! a new topic, because a node that has served before reuses freed memory before it grows. Any exit
//! except by SIGKILL ends the child processes.

mod cli;

mod fan_out;

mod vary;

mod idle;

mod resume;

mod round;

mod watch;

mod testbed;

mod load;

mod floor;

mod ingest_cost;

#[cfg(feature = "feed-rate")]
mod feed_rate;

mod node;

mod programs;

mod companion;

mod shape;

mod timing;

mod schedule;

mod results;

mod summary;

mod headline;

mod table;

mod machine;

mod cost;

mod figures;

#[cfg(test)]
mod flags;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _, ValueEnum as _, error::ErrorKind};
use tokio::runtime::{Builder, Runtime};

use self::{
    cli::{Benchmark, Cli},
    idle::IdleFlags,
    results::Results,
    resume::ResumeFlags,
    shape::Preset,
    testbed::Testbed,
    timing::NodeFlags,
};
use crate::interrupts::Interrupts;

/// The exit code when a bound was missed, the same as loadgen's.
const MISSED: u8 = 99;

/// Runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = check(&cli) {
        Cli::command().error(ErrorKind::ValueValidation, format!("{error:#}")).exit();
    }
    if cli.check {
        return ExitCode::SUCCESS;
    }
    run(&cli).unwrap_or_else(|error| {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Checks everything that does not need Kafka: values, this machine's limits, and the node's
/// settings.
fn check(cli: &Cli) -> Result<()> {
    match &cli.benchmark {
        Benchmark::Floor(flags) => floor::check(flags),
        Benchmark::IngestCost(flags) => ingest_cost::check(flags),
        #[cfg(feature = "feed-rate")]
        Benchmark::FeedRate(_) => Ok(()),
        #[cfg(not(feature = "feed-rate"))]
        Benchmark::FeedRate { flags } => anyhow::bail!(
            "built without feed-rate; use cargo run --profile dist -p loadgen --features feed-rate --bin bench \
             -- feed-rate {}",
            flags.join(" ")
        ),
        #[cfg(feature = "feed-rate")]
        Benchmark::Read(_) => Ok(()),
        Benchmark::Receive(_) | Benchmark::Produce(_) | Benchmark::Publish(_) => Ok(()),
        Benchmark::FanOut { node, .. }
        | Benchmark::Vary { node, .. }
        | Benchmark::Idle { node, .. }
        | Benchmark::Resume { node, .. }
        | Benchmark::All { node } => {
            let loads = cli.loads(node)?;
            testbed(cli, node)?.check(&loads)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let json = cli.json.as_deref();
    let code = |is_kept: bool| if is_kept { ExitCode::SUCCESS } else { MISSED.into() };
    match &cli.benchmark {
        Benchmark::Floor(flags) => {
            crate::output::write(&floor::measure(&cli.kafka, flags)?, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Benchmark::IngestCost(flags) => {
            let report = ingest_cost::measure(&runtime()?, &cli.kafka, flags)?;
            crate::output::write(&report, json).map(|()| code(report.is_kept()))
        }
        #[cfg(feature = "feed-rate")]
        Benchmark::FeedRate(flags) => {
            let report = feed_rate::measure(&cli.kafka, flags)?;
            crate::output::write(&report, json).map(|()| code(report.is_kept()))
        }
        #[cfg(not(feature = "feed-rate"))]
        Benchmark::FeedRate { .. } => check(cli).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "feed-rate")]
        Benchmark::Read(read) => companion::answer(&feed_rate::read(&cli.kafka, read)?),
        Benchmark::Receive(receive) => companion::answer(&floor::receive(&runtime()?, receive)?),
        Benchmark::Produce(produce) => companion::answer(&floor::produce(&cli.kafka, produce)?),
        Benchmark::Publish(publish) => companion::answer(&ingest_cost::publish(&runtime()?, publish)?),
        Benchmark::FanOut { node, .. }
        | Benchmark::Vary { node, .. }
        | Benchmark::Idle { node, .. }
        | Benchmark::Resume { node, .. }
        | Benchmark::All { node } => runtime()?.block_on(async {
            // An interrupt drops the unfinished measurement, and with it its child processes.
            let measuring = measure(cli, node);
            Interrupts::catch()?.unless("measuring", Box::pin(measuring)).await?.conclude()
        }),
    }
}

/// Creates a runtime with one thread, which leaves the other cores to the measured processes.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn testbed(cli: &Cli, node: &NodeFlags) -> Result<Testbed> {
    Testbed::new(&cli.kafka, &node.set, node.timing)
}

async fn measure(cli: &Cli, node: &NodeFlags) -> Result<Results> {
    let testbed = testbed(cli, node)?;
    let mut results = Results::new(cli.json.as_deref())?;
    match &cli.benchmark {
        Benchmark::FanOut { shape, .. } => results.fan_out(fan_out::measure(&testbed, shape).await?)?,
        Benchmark::Vary { vary, .. } => results.vary(vary::measure(&testbed, vary).await?)?,
        Benchmark::Idle { idle, .. } => results.idle(idle::measure(&testbed, idle).await?)?,
        Benchmark::Resume { resume, .. } => results.resume(resume::measure(&testbed, resume).await?)?,
        _ => all(&testbed, &mut results).await?,
    }
    Ok(results)
}

/// Measures everything with the values that have bounds.
async fn all(testbed: &Testbed, results: &mut Results) -> Result<()> {
    for &preset in Preset::value_variants() {
        results.fan_out(fan_out::measure(testbed, &preset.into()).await?)?;
    }
    results.idle(idle::measure(testbed, &IdleFlags::default()).await?)?;
    results.resume(resume::measure(testbed, &ResumeFlags::default()).await?)?;
    for &axis in vary::Axis::value_variants() {
        results.vary(vary::measure(testbed, &axis.into()).await?)?;
    }
    Ok(())
}
