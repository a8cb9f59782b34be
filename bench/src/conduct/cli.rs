//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::shape::ShapeFlags;

/// Measures a push node beside what it cannot do without, each within one run: starts `tailcast`, `loadgen` and `floor`, which
/// are taken from where this program is, and says the ratios.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    after_help = "Exit codes: 0 every bound was kept; 1 something was lost, repeated or could not be measured; 2 the command \
                  line is wrong; 99 a bound was missed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) benchmark: Benchmark,

    /// A Kafka broker. Topics are created, and deleted at the end.
    #[arg(long, global = true, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) kafka: String,

    /// Set a key of the node's configuration, as `tailcast push --set`; may be given several times.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Write the results as JSON (bench/schema.json) to a file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) pace: Pace,
}

/// How often and how long.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Pace {
    /// How often each side is measured. They alternate.
    #[arg(long, global = true, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// How long each is measured.
    #[arg(long, global = true, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// How long the load is on before measuring begins.
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// A node beside the bare sends and the bare consumer, at a shape of the issue or one of your own.
    FanOut(FanOut),
}

/// Which shape.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FanOut {
    #[command(flatten)]
    pub(crate) shape: ShapeFlags,
}

impl Cli {
    /// Reads the command line; ends the process with 2 when it is wrong.
    pub(crate) fn read() -> Self {
        let cli = Self::parse();
        if let Err(wrong) = cli.check() {
            use clap::{CommandFactory as _, error::ErrorKind};
            Self::command().error(ErrorKind::ValueValidation, wrong).exit();
        }
        cli
    }

    /// Says what is wrong with values that are each right.
    fn check(&self) -> Result<(), String> {
        if self.pace.duration < Duration::from_secs(1) {
            return Err("--duration is at least 1s: the kernel tells CPU time in steps of 10 ms".into());
        }
        match &self.benchmark {
            Benchmark::FanOut(fan_out) => fan_out.shape.shape().check(),
        }
    }
}
