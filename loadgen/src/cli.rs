//! The command line: all parameters of a run, in groups.

mod load;

mod output;

mod targets;

mod readers;

mod faults;

use clap::{ArgGroup, Parser};

pub(crate) use self::{
    faults::Faults,
    load::Load,
    output::Output,
    readers::{ChannelForm, Mode, Readers},
    targets::{Publishers, Targets},
};

/// Puts verified load on Tailcast: publishes events at a fixed rate, receives them on many
/// WebSockets, and checks that each connection received every event of its keys once and in order.
///
/// An open loop: the schedule is fixed before the first event, and latency counts from the time an
/// event was due, so that every pause shows in full.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    group(ArgGroup::new("publish path").args(["ingest", "kafka"]).required(true).multiple(true)),
    after_help = "Exit codes: 0 clean; 1 records were lost, repeated, out of order or corrupt, or the run \
     could not be completed; 2 the run was not started: the command line or scenario is invalid, or a \
     process, metrics page or Kafka is missing; 98 loadgen was saturated: no verdict; 99 a threshold \
     failed.\n\nExamples:\n  loadgen --scenario steady --ingest 127.0.0.1:9090 --kafka 127.0.0.1:9092 \
     --create-topic 12\n  loadgen --ingest 127.0.0.1:9090 --connections 5000 --keys 1000 --rate 1000 \
     --payload 512 --duration 60s --server-pid 4711 --threshold 'p99<20ms'"
)]
pub(crate) struct Cli {
    /// Take values from a scenario: steady, hot_key, fan_out, many_channels, slow_readers,
    /// reconnect_storm, rolling_drain, idle, soak, or a TOML file whose keys are these flags. Flags
    /// on the command line take precedence.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scenario: Option<String>,

    #[command(flatten)]
    pub(crate) targets: Targets,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    pub(crate) readers: Readers,

    #[command(flatten)]
    pub(crate) faults: Faults,

    #[command(flatten)]
    pub(crate) output: Output,
}

impl Cli {
    /// Rejects invalid combinations of values within and between the groups.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.readers.check(&self.load)?;
        self.load.check()?;
        self.output.check(self.targets.compare_kafka)?;
        self.faults.check(self.load.duration)
    }

    /// Returns the number of concurrent publishers.
    pub(crate) fn publisher_count(&self) -> u32 {
        self.targets.publisher_count()
    }
}

#[cfg(test)]
impl Cli {
    /// Parses the arguments of a test, which publishes directly to Kafka.
    #[track_caller]
    pub(crate) fn of(arguments: &str) -> Self {
        let kafka = if arguments.contains("--kafka ") { "" } else { "--kafka=k:1" };
        let all = ["loadgen", kafka].into_iter().chain(arguments.split_whitespace());
        Self::try_parse_from(all.filter(|one| !one.is_empty())).expect("the arguments are sound")
    }
}
