//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum as _};

use super::{
    load::Load,
    resume::PAYLOAD,
    vary::{self, Axis, Value},
};
use crate::bench::shape::{Preset, Shape, ShapeFlags};

/// Measures a push node beside what it cannot do without, each within one run: starts `tailcast`, `loadgen` and `floor`, which
/// are taken from where this program is, and says the ratios.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    after_help = "Exit codes: 0 every bound was kept; 1 something was lost, repeated or could not be measured; 2 the command \
                  line is wrong; 98 no bound was missed, and a latency could not be judged because loadgen was saturated; \
                  99 a bound was missed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) benchmark: Benchmark,

    /// A Kafka broker. Topics are created, and deleted at the end.
    #[arg(long, global = true, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) kafka: String,

    /// Set a key of the node's configuration, as `tailcast push --set`; may be given several times.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) set: Vec<String>,

    /// Write the results as JSON (loadgen/bench/schema.json) to a file, anew after each benchmark.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) pace: Pace,

    /// Say whether this can be measured here, and end.
    #[arg(long, global = true)]
    pub(crate) check: bool,
}

/// How often and how long.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Pace {
    /// How often each side is measured. They alternate.
    #[arg(long, global = true, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// How long each is measured; of `resume` it follows from how many records are missed.
    #[arg(long, global = true, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// How long the load is on before measuring begins, but for `resume`.
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// A node beside the bare sends and the bare consumer, at a shape of BENCHMARKS.md or one of your own.
    FanOut(FanOut),
    /// The cost of a delivery as one value grows, beside the floor's.
    Vary(Vary),
    /// The memory of a connection, idle and under load, and the cost of connecting.
    Idle(Idle),
    /// Everybody is dropped at once, and comes back with what was missed.
    Resume(Resume),
    /// All of these, with the values that have bounds.
    All,
}

/// Which shape.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FanOut {
    #[command(flatten)]
    pub(crate) shape: ShapeFlags,
}

/// What grows.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Vary {
    /// The value that changes, while deliveries per second stay the same (but for `rate`).
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) by: Axis,

    /// Its values, from the smallest, separated by commas: numbers, or of `format` proto and json [default: those of BENCHMARKS.md].
    #[arg(long, value_delimiter = ',', value_name = "VALUE,…")]
    pub(crate) values: Vec<Value>,

    /// How many connections, where they are not what grows [default: 10,000 for keys, 1,000 for subscriptions, else 4,000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,

    /// Deliveries per second, of all connections.
    #[arg(long, default_value_t = 10_000, value_name = "N/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) deliveries: u32,
}

/// How many connections, and the load on them.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) shape: ShapeFlags,
}

/// Who comes back.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Resume {
    /// How many connections.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,

    /// How many keys; each connection has one.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,

    /// Events per second, over all keys: they go on while everybody is away, and afterwards.
    #[arg(long, default_value_t = 400, value_name = "EVENTS/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: u32,

    /// How many records each misses.
    #[arg(long, default_value_t = 1_000, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) behind: u32,
}

impl From<Axis> for Vary {
    fn from(by: Axis) -> Self {
        Self { by, values: Vec::new(), connections: None, deliveries: 10_000 }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self { shape: Preset::S1.into() }
    }
}

impl Default for Resume {
    fn default() -> Self {
        Self { connections: 10_000, keys: 20, rate: 400, behind: 1_000 }
    }
}

impl Resume {
    /// Returns what everybody listens to.
    pub(super) fn shape(&self) -> Shape {
        let Self { connections, keys, rate, .. } = *self;
        Shape { connections, keys, rate, payload: PAYLOAD }
    }
}

impl Cli {
    /// Returns every load that is made.
    ///
    /// # Errors
    ///
    /// When a value is wrong beside the others, with what would be right.
    pub(super) fn loads(&self) -> Result<Vec<Load>, String> {
        if self.pace.duration < Duration::from_secs(1) {
            return Err("--duration is at least 1s: the kernel tells CPU time in steps of 10 ms".into());
        }
        match &self.benchmark {
            Benchmark::FanOut(FanOut { shape }) | Benchmark::Idle(Idle { shape }) => {
                shape.shape().check()?;
                self.load(&shape.shape())
            }
            Benchmark::Vary(asked) => self.cases(asked),
            Benchmark::Resume(asked) => self.load(&asked.shape()),
            Benchmark::All => {
                let shapes = Preset::value_variants().iter().map(|preset| preset.shape());
                let shapes = shapes.chain([Resume::default().shape()]).map(|shape| self.load(&shape));
                let axes = Axis::value_variants().iter().map(|&axis| self.cases(&axis.into()));
                shapes.chain(axes).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
            }
        }
    }

    fn load(&self, shape: &Shape) -> Result<Vec<Load>, String> {
        let load = Load::of(shape, self.pace);
        load.check().map(|()| vec![load])
    }

    fn cases(&self, asked: &Vary) -> Result<Vec<Load>, String> {
        Ok(vary::cases(asked, self.pace)?.into_iter().map(|case| case.load).collect())
    }
}

/// Whether such a key exists, the node says.
fn key_and_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("what is set is written KEY=VALUE, for example push.fan_out.pause_max=20ms".to_owned()),
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
            Ok(cli) => cli.loads().err().unwrap_or_else(|| "fine".to_owned()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{arguments}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    // These were found out by loadgen and the node, when Kafka ran and the floor had been measured.
    #[test]
    fn what_a_program_would_not_take_is_refused_before_it_is_started() {
        check("fan-out --payload 35", "35 bytes is too small: what is verified needs 36");
        check("idle --payload 35", "needs 36");
        check("vary --by payload --values 16,64", "--by payload 16: a value of 16 bytes is too small");
        check("fan-out --connections 300000", "more than the 200000");
        check("vary --by subscriptions --values 1,1001", "more than the 1000");
        check("idle --keys 7", "a multiple of the 7 keys");
        check("fan-out --set nonsense", "KEY=VALUE");
        check("fan-out --set =5", "KEY=VALUE");
        check("fan-out --duration 900ms", "at least 1s");
        check("fan-out --payload 36 --set push.fan_out.pause_max=20ms", "fine");
        check("all", "fine");
    }
}
