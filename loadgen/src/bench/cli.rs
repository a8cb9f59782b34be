//! The command line of `bench`.

use std::path::PathBuf;

use anyhow::{Error, Result};
use clap::{Parser, Subcommand, ValueEnum as _};

use super::{
    floor,
    idle::IdleFlags,
    ingest_cost,
    load::Load,
    resume::ResumeFlags,
    shape::{Preset, ShapeFlags},
    timing::NodeFlags,
    vary::{self, Axis, VaryFlags},
};

/// Measures Tailcast against its lower bounds (bare sends, a bare Kafka client), and reports the
/// ratios.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    after_help = "Exit codes: 0 every bound was kept; 1 records were lost, repeated or out of order, or the \
     benchmark failed; 2 the command line is invalid; 98 no bound was missed, but a latency could not be \
     judged because loadgen was saturated; 99 a bound was missed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) benchmark: Benchmark,

    /// A Kafka broker. Benchmarks create topics on it, and delete them at the end.
    #[arg(long, global = true, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) kafka: String,

    /// Write the results as JSON (loadgen/schema.json) to a file, updated after each benchmark.
    /// `floor`, `ingest-cost` and `feed-rate` write to standard output with `-`, and the summary to
    /// standard error.
    #[arg(long, global = true, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Check whether the benchmark can run on this machine, and exit.
    #[arg(long, global = true)]
    pub(crate) check: bool,
}

/// The benchmarks, and the roles of companion processes.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// Compare a node with bare sends and a bare consumer, at a shape of BENCHMARKS.md or your own.
    FanOut {
        #[command(flatten)]
        shape: ShapeFlags,
        #[command(flatten)]
        node: NodeFlags,
    },
    /// Measure how the cost of a delivery grows with one value, compared with the floor's.
    Vary {
        #[command(flatten)]
        vary: VaryFlags,
        #[command(flatten)]
        node: NodeFlags,
    },
    /// Measure the memory of a connection, idle and under load, and the cost of connecting.
    Idle {
        #[command(flatten)]
        idle: IdleFlags,
        #[command(flatten)]
        node: NodeFlags,
    },
    /// Drop all clients at once, and measure how they resume with the records that they missed.
    Resume {
        #[command(flatten)]
        resume: ResumeFlags,
        #[command(flatten)]
        node: NodeFlags,
    },
    /// Run all of the above, with the values that have bounds.
    All {
        #[command(flatten)]
        node: NodeFlags,
    },
    /// Compare ingest's events per CPU-second with a bare producer of the same bytes.
    IngestCost(ingest_cost::Flags),
    /// Compare a feed's records per second with a bare consumer of the same records (needs a build
    /// with the feature `feed-rate`).
    #[cfg(feature = "feed-rate")]
    FeedRate(super::feed_rate::Flags),
    #[cfg(not(feature = "feed-rate"))]
    FeedRate {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// Measure the CPU that no node can avoid: one `send()` per delivery, and reading the records
    /// from Kafka.
    Floor(floor::Flags),
    #[command(hide = true)]
    Receive(floor::Receive),
    #[command(hide = true)]
    Produce(floor::Produce),
    #[command(hide = true)]
    Publish(ingest_cost::Publish),
    #[cfg(feature = "feed-rate")]
    #[command(hide = true)]
    Read(super::feed_rate::Read),
}

impl Cli {
    /// Returns the loads that nodes will be put under.
    pub(crate) fn loads(&self, node: &NodeFlags) -> Result<Vec<Load>> {
        node.timing.time.check()?;
        let load = |shape| Load::checked(&shape, node.timing).map(|load| vec![load]);
        let cases = |vary: &VaryFlags| {
            let cases = vary::cases(vary, node.timing);
            cases.map(|cases| cases.into_iter().map(|case| case.load).collect::<Vec<_>>())
        };
        let loads = match &self.benchmark {
            Benchmark::FanOut { shape, .. } => load(shape.shape()),
            Benchmark::Idle { idle, .. } => load(idle.shape.shape()),
            Benchmark::Vary { vary, .. } => cases(vary),
            Benchmark::Resume { resume, .. } => load(resume.shape()),
            _ => {
                let shapes = Preset::value_variants().iter().map(|preset| preset.shape());
                let shapes = shapes.chain([ResumeFlags::default().shape()]).map(load);
                let axes = Axis::value_variants().iter().map(|&axis| cases(&axis.into()));
                shapes.chain(axes).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
            }
        };
        loads.map_err(Error::msg)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let all = ["bench"].into_iter().chain(arguments.split_whitespace());
        let found = match Cli::try_parse_from(all) {
            Ok(cli) => match super::super::check(&cli) {
                Err(error) if !error.to_string().contains("does not exist") => format!("{error:#}"),
                // The programs are not built along with this test.
                _ => "fine".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{arguments}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    // loadgen and the node used to report these only after Kafka was running and the floor was
    // measured.
    #[test]
    fn values_that_a_program_would_reject_are_rejected_before_it_is_started() {
        check(
            "fan-out --payload 35",
            "invalid value '35' for '--payload <BYTES>': a value has 36 to 1000000 bytes",
        );
        check("idle --payload 35", "36 to 1000000");
        check(
            "vary --by payload --values 16,64",
            "--by payload 16: invalid value '16' for '--payload <BYTES>'",
        );
        check("fan-out --connections 300000", "1..=200000");
        check("vary --by subscriptions --values 1,1001", "1..=1000");
        check("idle --keys 7", "a multiple of the 7 keys");
        check("fan-out --set nonsense", "KEY=VALUE");
        check("fan-out --set =5", "KEY=VALUE");
        check("fan-out --duration 900ms", "at least 1s");
        check("fan-out --payload 36 --set push.fan_out.pause_max=20ms", "fine");
        check("all", "fine");
        check("floor --shape S4", "S1x5");
        check("floor --keys 7", "a multiple of the 7 keys");
        check("floor --duration 900ms", "at least 1s");
        check("floor --payload 0", "1..=60000");
        check("floor --sends-only --topic quotes", "--topic");
        check("ingest-cost --ingest h:1", "--ingest-pid");
        check("ingest-cost --method sideways", "stream");
        #[cfg(not(feature = "feed-rate"))]
        check("feed-rate --rounds 1", "--features feed-rate --bin bench -- feed-rate --rounds 1");
    }
}
