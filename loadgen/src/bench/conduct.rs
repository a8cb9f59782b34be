//! `bench`: starts what is compared, one after the other, and says the ratios.
//!
//! A node, `loadgen` and `floor` are children, whose reports are read. Each measurement has a node and a topic of its own: a node that
//! has served before has memory that it fills before it grows. Whatever ends this program, but SIGKILL, ends its children.
//!
//! Absent: measuring. What a figure is, the reports say; here they are divided and held against bounds.

mod cli;

mod stage;

mod node;

mod load;

mod load_report;

mod watch;

mod headline;

mod table;

mod round;

mod fan_out;

mod vary;

mod idle;

mod resume;

mod results;

mod machine;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use self::{
    cli::{Benchmark, Cli},
    results::Results,
    stage::Stage,
};
use crate::{
    bench::{
        program::{self, Program},
        shape::Preset,
    },
    process,
};

/// What a node, loadgen or the floor has open besides connections.
const FILES_OTHERWISE: u64 = 200;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    program::main::<Cli>()
}

impl Program for Cli {
    fn check(&self) -> Result<(), String> {
        let loads = self.loads()?;
        let connections = loads.iter().map(|load| load.connections).max().unwrap_or_default();
        let needed = u64::from(connections) + FILES_OTHERWISE;
        process::check_open_files(needed).map_err(|error| error.to_string())?;
        Stage::new(self).and_then(|stage| stage.check_settings()).map_err(|error| format!("{error:#}"))
    }

    fn only_checks(&self) -> bool {
        self.check
    }

    fn run(&self) -> Result<ExitCode> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // What is dropped with the measurement that is not finished are its children, and they end.
            tokio::select! {
                ended = interrupted() => bail!("interrupted by {}", ended?),
                results = measure(self) => results?.conclude(),
            }
        })
    }
}

/// Waits for a signal that ends this process, and returns its name.
async fn interrupted() -> Result<&'static str> {
    let caught = "signals cannot be caught";
    let mut interrupt = signal(SignalKind::interrupt()).context(caught)?;
    let mut terminate = signal(SignalKind::terminate()).context(caught)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

async fn measure(cli: &Cli) -> Result<Results> {
    let stage = Stage::new(cli)?;
    let mut results = Results::new(cli.json.as_deref())?;
    match &cli.benchmark {
        Benchmark::FanOut(asked) => results.fan_out(fan_out::measure(&stage, &asked.shape).await?)?,
        Benchmark::Vary(asked) => results.vary(vary::measure(&stage, asked).await?)?,
        Benchmark::Idle(asked) => results.idle(idle::measure(&stage, asked).await?)?,
        Benchmark::Resume(asked) => results.resume(resume::measure(&stage, asked).await?)?,
        Benchmark::All => all(&stage, &mut results).await?,
    }
    Ok(results)
}

/// Measures everything with the values that have bounds.
async fn all(stage: &Stage, results: &mut Results) -> Result<()> {
    for &preset in Preset::value_variants() {
        results.fan_out(fan_out::measure(stage, &preset.into()).await?)?;
    }
    results.idle(idle::measure(stage, &cli::Idle::default()).await?)?;
    results.resume(resume::measure(stage, &cli::Resume::default()).await?)?;
    for &axis in vary::Axis::value_variants() {
        results.vary(vary::measure(stage, &axis.into()).await?)?;
    }
    Ok(())
}
