//! The command line: every value of a run, in groups.

mod load;

mod output;

mod places;

mod readers;

mod trouble;

use clap::{ArgGroup, Parser};

pub(crate) use self::{
    load::Load,
    output::Output,
    places::{Places, Publishers},
    readers::{ChannelForm, Mode, Readers},
    trouble::Trouble,
};
use crate::storm;

/// Puts verified load on Tailcast: publishes events at a fixed rate, receives them on many WebSockets, and checks that each
/// connection got every event of its keys once and in order.
///
/// An open loop: the schedule is fixed before the first event, and latency counts from the moment an event was due, so
/// that a pause anywhere shows in full.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    group(ArgGroup::new("way in").args(["ingest", "kafka"]).required(true).multiple(true)),
    after_help = "Exit codes: 0 clean; 1 something was lost, repeated, out of order or corrupt, or the run could not be \
                  completed; 2 the command line or the scenario is wrong, or what it names beside the service is not \
                  there; 98 loadgen itself was saturated, so there is no \
                  verdict; 99 a threshold failed.\n\n\
                  Examples:\n  loadgen --scenario steady --ingest 127.0.0.1:9090 --kafka 127.0.0.1:9092 --create-topic 12\n  \
                  loadgen --ingest 127.0.0.1:9090 --connections 5000 --keys 1000 --rate 1000 --payload 512 \
                  --duration 60s --server-pid 4711 --threshold 'p99<20ms'"
)]
pub(crate) struct Cli {
    /// Take values from a scenario: steady, hot_key, fan_out, many_channels, slow_readers, reconnect_storm, rolling_drain,
    /// idle, soak, or a TOML file whose keys are these flags. A flag that is given overrides the scenario's value.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scenario: Option<String>,

    #[command(flatten)]
    pub(crate) places: Places,

    #[command(flatten)]
    pub(crate) load: Load,

    #[command(flatten)]
    pub(crate) readers: Readers,

    #[command(flatten)]
    pub(crate) trouble: Trouble,

    #[command(flatten)]
    pub(crate) output: Output,
}

impl Cli {
    /// Says what is wrong with values that are each right.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.readers.check(&self.load)?;
        self.load.check()?;
        self.output.check(self.places.compare_kafka)?;
        self.output.thresholds.iter().try_for_each(|threshold| threshold.check(self))?;
        self.trouble.check(self.load.duration)?;
        storm::check(self)
    }

    /// Returns how many publishers work at the same time.
    pub(crate) fn publisher_count(&self) -> u32 {
        self.places.publisher_count()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let all = ["loadgen", "--kafka", "k:1"].into_iter().chain(arguments.split_whitespace());
        let found = match Cli::try_parse_from(all) {
            Ok(cli) => cli.check().err().unwrap_or_else(|| "fine".to_owned()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{arguments}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_way_in_has_to_be_given() {
        let error = Cli::try_parse_from(["loadgen"]).expect_err("neither --ingest nor --kafka");
        assert_eq!(error.exit_code(), 2);
        check("--ingest 127.0.0.1:9090", "fine");
        let error = Cli::try_parse_from(["loadgen", "--ingest", "127.0.0.1:9090", "--compare-kafka"]);
        assert!(error.expect_err("which Kafka?").to_string().contains("--kafka <HOST:PORT>"));
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_can() {
        check("--payload 35", "36 to 1000000");
        check("--keys 5 --channels-per-connection 6", "--channels-per-connection 6 needs as many");
        check("--duration 0s", "give at least 1s");
        check("--max-rate 5", "--mode conflated");
        check("--mode conflated --max-rate 0", "0.1 to 1000");
        check("--channel-form all --channels-per-connection 2", "one channel");
        check("--threshold p98<1ms", "p99.9");
        check("--threshold p99<2*baseline", "needs --baseline");
        check("--threshold p99<2*kafka", "needs --compare-kafka");
        check("--threshold p99<2*kafka --compare-kafka", "fine");
    }

    // They were not measured, which was told when the run was over.
    #[test]
    fn a_threshold_of_what_the_run_does_not_measure_is_refused_with_the_flag_that_does() {
        check("--threshold cpu_us_per_delivery<5", "needs --server-pid PID");
        check("--threshold slow_p99<1s", "needs --slow-percent");
        check("--threshold kafka_p50<1s", "needs --compare-kafka");
        check("--threshold node_closed_4508==0", "needs --server-metrics URL");
        check("--threshold skipped>0", "needs --mode conflated");
        check("--threshold catch_up_ratio<3 --storm-at 1s --storm-behind 1", "needs --server-metrics");
        check("--threshold skipped>0 --mode conflated", "fine");
    }

    // The run was over, and its results gone, when this was found out.
    #[test]
    fn files_that_cannot_be_written_are_refused_before_the_run() {
        check("--html no/such/folder/page.html", "--html no/such/folder/page.html: there is no such folder");
        check("--hgrm src", "--hgrm src: that is a folder");
        check("--json - --hgrm here.hgrm --html src/page.html", "fine");
        // One overwrote the other, and a file of this name was made.
        check("--json x --html ./x", "--html ./x: --json writes the same file");
        check("--hgrm x --html x", "--html x: --hgrm writes the same file");
        check("--hgrm /dev/null --html /dev/null", "fine");
        check("--hgrm -", "--hgrm -: only --json goes to standard output");
        check("--json - --html -", "--html -: only --json goes to standard output");
    }

    #[test]
    fn trouble_has_to_fit_into_the_run() {
        check("--slow-percent 10 --slow-after 5s --slow-for 60s --duration 30s", "--duration 65s");
        check("--slow-percent 10 --slow-for 20s --duration 30s", "fine");
        check("--storm-at 10s --storm-behind 1000 --keys 100 --rate 1000 --duration 60s", "--duration 111s");
        check("--storm-at 10s --storm-behind 1000 --keys 10 --rate 1000 --duration 60s", "fine");
    }
}
