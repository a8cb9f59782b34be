//! Builds the report from everything that was observed.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use tokio::task::block_in_place;

use super::{Run, no_data::NoData};
use crate::{
    account::{Account, Records},
    bare_consumer::ConsumerStats,
    cli::{Cli, Mode, Publishers},
    fleet::Fleet,
    monitor::StormEnd,
    report::{
        BareKafka, Conflated, Events, Loadgen, Measured, Memory, Parameters, Report, Sessions, SlowReaders,
        StormReport, Verdict, float,
    },
    saturation::OwnPerformance,
    truth::{Truth, findings},
};

/// How long at the end of the schedule no event may be acknowledged before publishing is considered
/// to have failed.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Observations after the end of the run.
struct Observed {
    storm_end: Option<StormEnd>,
    closes_by_nodes: Option<BTreeMap<String, u64>>,
    /// Whether worker processes hold the connections.
    workers: bool,
    /// What the bare consumer received.
    bare: Option<ConsumerStats>,
}

impl Run<'_> {
    /// Ends all connections, and builds the report.
    pub(super) async fn finish(mut self) -> Result<Report> {
        self.monitor.memory.end = self.monitor.servers.memory();
        self.monitor.memory.slow_after = self.monitor.own_memory().await;
        let storm_end = self.monitor.storm_end().await;
        let workers = matches!(self.fleet, Fleet::Workers(_));
        let closes_by_nodes = self.monitor.closes_by_nodes().await;
        let accounts = match self.fleet.end().await {
            Ok(accounts) => accounts,
            Err(error) => {
                self.monitor.incidents.push(format!("the connections' accounts are not known: {error:#}"));
                Vec::new()
            }
        };
        let length = self.plan.events();
        let silence = self.ledger.last_acknowledged().map_or(length, |last| length - 1 - last);
        let silence = Duration::from_nanos(self.plan.due_ns(silence));
        if silence > SILENCE_MAX {
            let seconds = silence.as_secs_f64();
            self.monitor
                .incidents
                .push(format!("no event of the last {seconds:.1} s of the schedule was acknowledged"));
        }
        let bare = self.bare_consumer.take();
        // It has almost caught up with the connections; blocking this thread until then is fine,
        // because nothing else is running.
        let bare = bare.map(|reading| block_in_place(|| reading.finish(self.ledger.acknowledged())));
        let bare = bare.transpose().unwrap_or_else(|error| {
            self.monitor.incidents.push(format!("the latency of bare Kafka is not known: {error:#}"));
            None
        });
        Ok(self.report(&accounts, Observed { storm_end, closes_by_nodes, workers, bare }))
    }

    fn report(mut self, accounts: &[Account], observed: Observed) -> Report {
        let cli = self.cli;
        let cpu = self.monitor.cpu();
        let workers = if observed.workers { self.tally.measured_cpu } else { Duration::ZERO };
        let seconds = cpu.took.min(cli.load.duration).as_secs_f64();
        let measured = Measured::new(seconds, self.tally.measured, &cpu, workers);
        let from = self.shared.measured_from_ns;
        let truth = Truth::new(&self.plan, &self.ledger, cli.load.keys, from);
        let measurable = truth.expected_measured(&self.shared.layout);
        let all = findings(accounts.iter());
        let own = OwnPerformance {
            lateness_us: (&self.lateness).into(),
            lag_us: (&self.tally.lag).into(),
            cpus: measured.own_cpus,
            cpus_max: cpus_max(cli),
        };
        let mut incidents = std::mem::take(&mut self.monitor.incidents);
        let gone = self.monitor.servers.gone();
        let gone = gone.map(|pid| format!("process {pid} ended during the run, and is not measured"));
        let mut notes: Vec<_> = gone.chain(self.monitor.notes.iter().cloned()).collect();
        match NoData::of(measured.deliveries, measurable, truth.measured(), is_silent_by_design(cli)) {
            Some(no_data @ (NoData::Unpublished | NoData::Unsubscribed)) => notes.push(no_data.to_string()),
            Some(no_data @ NoData::Undelivered(_)) => incidents.push(no_data.to_string()),
            None => {}
        }
        let mut report = Report {
            verdict: Verdict::Clean,
            parameters: parameters(cli, self.plan.lanes()),
            events: self.events(),
            deliveries: self.tally.count.deliveries,
            violations: truth.judge(accounts, cli.readers.max_rate),
            sessions: Sessions {
                closes: all.closes,
                closes_by_nodes: observed.closes_by_nodes,
                moves: all.moves,
                silences: all.silences,
                resumes: all.resumes,
                failed_attempts: all.failed_attempts,
                loss_notices: all.loss_notices,
                skips: all.skips,
                other_runs: all.other_runs,
            },
            measured,
            latency_us: (&self.tally.latencies.regular).into(),
            kafka: observed
                .bare
                .as_ref()
                .map(|bare| BareKafka { records: bare.records, latency_us: (&bare.latency).into() }),
            slow: self.slow(accounts),
            storm: self.storm(observed.storm_end),
            conflated: (cli.readers.mode == Mode::Conflated)
                .then(|| conflated(accounts, truth.expected(&self.shared.layout))),
            memory: self.memory(),
            loadgen: Loadgen {
                lateness_us: own.lateness_us,
                lag_us: own.lag_us,
                saturated: own.saturated(cli.output.late_max),
            },
            thresholds: Vec::new(),
            incidents,
            notes,
            timeline: self.tally.timeline,
        };
        let (bounds, baseline) = (cli.output.thresholds.iter(), self.baseline.as_ref());
        report.thresholds = bounds.map(|bound| bound.judge(&report, baseline)).collect();
        report.verdict = Verdict::of(&report);
        report
    }

    fn events(&self) -> Events {
        Events {
            planned: self.plan.events(),
            published: self.ledger.published(),
            acknowledged: self.ledger.acknowledged(),
            refused: self.ledger.refused(),
            reasons: self.ledger.reasons(),
        }
    }

    fn slow(&self, accounts: &[Account]) -> Option<SlowReaders> {
        let slow = self.shared.slow.as_ref()?;
        let connections = slow.among(self.shared.layout.connections());
        let memory = &self.monitor.memory;
        let growth = memory.slow_before.zip(memory.slow_max).map(|(before, max)| max.saturating_sub(before));
        Some(SlowReaders {
            connections,
            seconds: (slow.silence.end - slow.silence.start).as_secs_f64(),
            pause_seconds: slow.pause.map(|pause| pause.as_secs_f64()),
            closes: findings(accounts.iter().filter(|account| account.slow)).closes,
            latency_us: (&self.tally.latencies.slow).into(),
            memory_before: memory.slow_before,
            memory_max: memory.slow_max,
            memory_after: memory.slow_after,
            growth_per_client: growth.map(|growth| growth / connections.max(1)),
        })
    }

    fn storm(&self, end: Option<StormEnd>) -> Option<StormReport> {
        let (storm, end) = self.shared.storm.zip(end)?;
        let count = self.tally.storm;
        let after = |ns: u64| Duration::from_nanos(ns.saturating_sub(end.reconnect_ns)).as_secs_f64();
        let missed = self.plan.due_by(Duration::from_nanos(end.reconnect_ns));
        let missed = (storm.dropped_after..missed).filter(|number| self.ledger.is_acknowledged(*number));
        let bytes = missed.map(|number| {
            let key = self.shared.layout.key(self.plan.event(number).key);
            key.len() as u64 + self.cli.load.payload as u64
        });
        let unique_bytes: u64 = bytes.sum();
        Some(StormReport {
            away_seconds: Duration::from_nanos(end.reconnect_ns.saturating_sub(storm.drop_ns)).as_secs_f64(),
            resumed: count.resumed,
            resumed_seconds: (count.resumed > 0).then(|| after(count.resumed_ns)),
            caught_up: count.caught_up,
            caught_up_seconds: (count.caught_up > 0).then(|| after(count.caught_up_ns)),
            behind_min: count.behind_min,
            behind_max: count.behind_max,
            unique_bytes,
            catch_up_bytes: end.catch_up_bytes,
            catch_up_ratio: end
                .catch_up_bytes
                .filter(|_| unique_bytes > 0)
                .map(|read| float(read) / float(unique_bytes)),
            latency_us: (&self.tally.latencies.away).into(),
        })
    }

    fn memory(&self) -> Option<Memory> {
        let track = &self.monitor.memory;
        let (before, (idle, end)) = track.before.zip(track.idle.zip(track.end))?;
        Some(Memory::new(before, idle, end, self.cli.readers.connections))
    }
}

/// Returns whether the run may deliver nothing in the whole measured period by design: nobody
/// reads, or the next delivery of a key is due after it.
fn is_silent_by_design(cli: &Cli) -> bool {
    let is_rare = |rate: f64| rate * cli.load.duration.as_secs_f64() < 1.0;
    cli.faults.storm_at.is_some()
        || cli.faults.slow_percent == 100
        || cli.readers.max_rate.is_some_and(is_rare)
}

/// Returns how many CPUs loadgen could use.
fn cpus_max(cli: &Cli) -> f64 {
    let available = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = cli.readers.threads.map_or(available, u64::from);
    float(available.min(threads * u64::from(cli.readers.processes)))
}

fn conflated(accounts: &[Account], records: u64) -> Conflated {
    let mut all = Conflated { records, delivered: 0, skipped: 0 };
    for channel in accounts.iter().flat_map(|account| &account.channels) {
        if let Records::Conflated { keys, skipped } = &channel.records {
            all.delivered += keys.iter().map(|key| key.deliveries).sum::<u64>();
            all.skipped += skipped;
        }
    }
    all
}

fn parameters(cli: &Cli, publishers: u64) -> Parameters {
    let (targets, readers) = (&cli.targets, &cli.readers);
    Parameters {
        scenario: cli.scenario.clone(),
        connections: readers.connections,
        processes: readers.processes,
        channels_per_connection: readers.channels_per_connection,
        channel_form: format!("{:?}", readers.channel_form).to_lowercase(),
        mode: format!("{:?}", readers.mode).to_lowercase(),
        max_rate: readers.max_rate,
        keys: cli.load.keys,
        rate: cli.load.rate,
        payload_bytes: cli.load.payload,
        publish_path: match (&targets.ingest, targets.publishers) {
            (Some(_), Publishers::Stream) => format!("{publishers} publish streams through ingest"),
            (Some(_), Publishers::Unary) => format!("{publishers} unary publishers through ingest"),
            (None, _) => format!("{publishers} publishers directly to Kafka"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A run with rare deliveries, and none in the measured period, used to be reported as a
    // failure.
    #[test]
    fn the_measured_period_may_be_shorter_than_the_time_between_two_deliveries() {
        let is_silent = |flags: &str| is_silent_by_design(&Cli::of(flags));
        assert!(is_silent("--mode conflated --max-rate 0.1 --duration 5s"));
        assert!(!is_silent("--mode conflated --max-rate 0.1 --duration 10s"));
        assert!(!is_silent("--mode conflated --duration 5s"));
        assert!(is_silent("--slow-percent 100"));
    }
}
