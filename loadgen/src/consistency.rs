//! Rejects command lines with an invalid combination of valid values.

use crate::{
    cli::{Cli, Mode},
    figures::Need,
    storm,
};

/// Checks all combinations of values. Fails when a combination is invalid; the error has the flag
/// or value that would make it valid.
pub(crate) fn check(cli: &Cli) -> Result<(), String> {
    cli.check()?;
    for threshold in &cli.output.thresholds {
        if let Some(need) = threshold.needs().iter().find(|need| !is_met(**need, cli)) {
            return Err(format!("--threshold '{threshold}' needs {}", need.flag()));
        }
    }
    storm::check(cli)
}

/// Returns whether a run measures what a figure needs.
fn is_met(need: Need, cli: &Cli) -> bool {
    match need {
        Need::CompareKafka => cli.targets.compare_kafka,
        Need::ServerPid => !cli.targets.server_pids.is_empty(),
        Need::ServerMetrics => !cli.targets.server_metrics.is_empty(),
        Need::SlowPercent => cli.faults.slow_percent > 0,
        Need::StormAt => cli.faults.storm_at.is_some(),
        Need::Conflated => cli.readers.mode == Mode::Conflated,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::Cli;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let all = ["loadgen", "--kafka", "k:1"].into_iter().chain(arguments.split_whitespace());
        let found = match Cli::try_parse_from(all) {
            Ok(cli) => super::check(&cli).err().unwrap_or_else(|| "fine".to_owned()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{arguments}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_publish_path_is_required() {
        let error = Cli::try_parse_from(["loadgen"]).expect_err("neither --ingest nor --kafka");
        assert_eq!(error.exit_code(), 2);
        check("--ingest 127.0.0.1:9090", "fine");
        let error = Cli::try_parse_from(["loadgen", "--ingest", "127.0.0.1:9090", "--compare-kafka"]);
        assert!(error.expect_err("which Kafka?").to_string().contains("--kafka <HOST:PORT>"));
    }

    #[test]
    fn invalid_values_are_rejected_with_the_valid_ones() {
        check("--payload 35", "36 to 1000000");
        check("--keys 5 --channels-per-connection 6", "--channels-per-connection 6 needs as many");
        check("--duration 0s", "use at least 1s");
        check("--max-rate 5", "--mode conflated");
        check("--mode conflated --max-rate 0", "0.1 to 1000");
        check("--channel-form all --channels-per-connection 2", "one channel");
        check("--threshold p98<1ms", "p99.9");
        check("--threshold p99<2*baseline", "needs --baseline");
        check("--threshold p99<2*kafka", "needs --compare-kafka");
        check("--threshold p99<2*kafka --compare-kafka", "fine");
    }

    // Such figures were not measured, which was only reported after the run.
    #[test]
    fn a_threshold_for_an_unmeasured_figure_is_rejected_with_the_missing_flag() {
        check("--threshold cpu_us_per_delivery<5", "needs --server-pid PID");
        check("--threshold slow_p99<1s", "needs --slow-percent");
        check("--threshold kafka_p50<1s", "needs --compare-kafka");
        check("--threshold node_closed_4508==0", "needs --server-metrics URL");
        check("--threshold skipped>0", "needs --mode conflated");
        check("--threshold catch_up_ratio<3 --storm-at 1s --storm-behind 1", "needs --server-metrics");
        check("--threshold skipped>0 --mode conflated", "fine");
    }

    #[test]
    fn faults_must_fit_into_the_run() {
        check("--slow-percent 10 --slow-after 5s --slow-for 60s --duration 30s", "--duration 65s");
        check("--slow-percent 10 --slow-for 20s --duration 30s", "fine");
        check("--storm-at 10s --storm-behind 1000 --keys 100 --rate 1000 --duration 60s", "--duration 111s");
        check("--storm-at 10s --storm-behind 1000 --keys 10 --rate 1000 --duration 60s", "fine");
    }
}
