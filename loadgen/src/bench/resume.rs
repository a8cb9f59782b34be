//! The cost of all clients reconnecting at once: from a node's window, and so far behind that the
//! node reads Kafka.

use std::{fmt, time::Duration};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{
    headline::Headline,
    load::{Load, Storm},
    summary::Summary,
    table::Table,
    testbed::Testbed,
    timing::{Time, Timing},
    watch::Rise,
};
use crate::{
    bench::{
        figures::{count, figure, median, ratio},
        shape::Shape,
    },
    report::{Report, StormReport},
};

/// Time before all connections are dropped.
const BEFORE: Duration = Duration::from_secs(2);

/// How long events continue after all have reconnected.
const AFTER: Duration = Duration::from_secs(5);

/// Seconds that clients are away when they resume from a window.
const AWAY_SECONDS: u32 = 1;

/// The size of an event's value.
const PAYLOAD: u32 = 200;

/// Which clients resume.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ResumeFlags {
    /// The number of connections.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,

    /// The number of keys; each connection subscribes to one.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,

    /// Events per second, over all keys; publishing continues while the clients are away, and
    /// afterwards.
    #[arg(long, default_value_t = 400, value_name = "EVENTS/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: u32,

    /// The number of records that each client misses.
    #[arg(long, default_value_t = 1_000, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) behind: u32,
}

impl Default for ResumeFlags {
    fn default() -> Self {
        Self { connections: 10_000, keys: 20, rate: 400, behind: 1_000 }
    }
}

impl ResumeFlags {
    pub(crate) fn shape(&self) -> Shape {
        let Self { connections, keys, rate, .. } = *self;
        Shape { connections, keys, rate, payload: PAYLOAD }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Resume {
    shape: Shape,
    rounds: Vec<Round>,
    headlines: Vec<Headline>,
}

/// One storm.
#[derive(Debug, Serialize)]
struct Round {
    behind: u32,
    node: Report,
    resumes: Option<Rise>,
}

/// Drops all clients, once with few and once with many records to catch up on.
pub(crate) async fn measure(testbed: &Testbed, flags: &ResumeFlags) -> Result<Resume> {
    let (shape, behind) = (flags.shape(), flags.behind);
    let one_second = (shape.rate * AWAY_SECONDS / shape.keys).max(1);
    let mut rounds = Vec::new();
    for number in 1..=testbed.timing.rounds {
        for behind in [one_second, behind] {
            testbed.report(&format!(
                "resume, {shape}, {behind} behind, round {number} of {}",
                testbed.timing.rounds
            ));
            let load = load(&shape, behind, testbed.timing);
            let (node, watch) = testbed.watched_node(&load).await?;
            rounds.push(Round { behind, node, resumes: watch.second_rise(shape.connections.into()) });
        }
    }
    Ok(Resume::new(shape, [one_second, behind], rounds))
}

/// Returns a load that lasts long enough for every client to miss this many records.
fn load(shape: &Shape, behind: u32, timing: Timing) -> Load {
    let away = Duration::from_secs_f64(f64::from(behind) * f64::from(shape.keys) / f64::from(shape.rate));
    let time = Time { warmup: BEFORE, duration: BEFORE + away + AFTER };
    let timing = Timing { time, ..timing };
    Load { storm: Some(Storm { at: BEFORE, behind }), full: true, ..Load::of(shape, timing) }
}

impl Resume {
    fn new(shape: Shape, behind: [u32; 2], rounds: Vec<Round>) -> Self {
        let headlines = |behind: u32| {
            let median = |of: fn(&Round) -> Option<f64>| {
                median(rounds.iter().filter(|round| round.behind == behind).map(of))
            };
            [
                Headline::unbounded(
                    format!("resumes per second, {behind} behind"),
                    median(Round::per_second),
                ),
                Headline::unbounded(format!("CPU per resume, µs, {behind} behind"), median(Round::resume_us)),
            ]
        };
        let headlines = behind.into_iter().flat_map(headlines).collect();
        Self { shape, rounds, headlines }
    }
}

impl Round {
    fn storm(&self) -> Option<&StormReport> {
        self.node.storm.as_ref()
    }

    /// Resumes per second, until the last client has its subscription.
    fn per_second(&self) -> Option<f64> {
        let storm = self.storm()?;
        ratio(count(storm.resumed), storm.resumed_seconds?)
    }

    fn resume_us(&self) -> Option<f64> {
        self.resumes?.cpu_us_each
    }
}

impl Summary for Resume {
    fn title(&self) -> String {
        format!("all dropped at once: {}", self.shape)
    }

    fn headlines(&self) -> &[Headline] {
        &self.headlines
    }

    fn runs(&self) -> Vec<&Report> {
        self.rounds.iter().map(|round| &round.node).collect()
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "behind",
            "resumed",
            "within s",
            "resumes/s",
            "CPU µs each",
            "caught up",
            "within s",
            "read × unique",
            "lost",
            "repeated",
        ]);
        for round in &self.rounds {
            let storm = round.storm();
            table.row(vec![
                round.behind.to_string(),
                storm.map_or_else(String::new, |storm| storm.resumed.to_string()),
                figure(storm.and_then(|storm| storm.resumed_seconds), 2),
                figure(round.per_second(), 0),
                figure(round.resume_us(), 0),
                storm.map_or_else(String::new, |storm| storm.caught_up.to_string()),
                figure(storm.and_then(|storm| storm.caught_up_seconds), 2),
                figure(storm.and_then(|storm| storm.catch_up_ratio), 2),
                round.node.violations.lost.to_string(),
                round.node.violations.repeated.to_string(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// A plausible result.
#[cfg(test)]
pub(crate) fn sample() -> Resume {
    let shape = Shape { connections: 10_000, keys: 20, rate: 400, payload: PAYLOAD };
    let round = |behind: u32| {
        let mut node = super::round::sample(1.0, 1.0, 1).node;
        node.storm = Some(StormReport {
            away_seconds: 1.0,
            resumed: 10_000,
            resumed_seconds: Some(2.5),
            caught_up: 10_000,
            caught_up_seconds: Some(3.0),
            behind_min: Some(behind.into()),
            behind_max: behind.into(),
            unique_bytes: 0,
            catch_up_bytes: None,
            catch_up_ratio: None,
            latency_us: node.latency_us,
        });
        Round { behind, node, resumes: None }
    };
    Resume::new(shape, [20, 1_000], vec![round(20), round(1_000)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flags::parse;

    #[test]
    fn the_run_is_long_enough_for_every_client_to_miss_its_records() {
        let shape = Shape { connections: 10_000, keys: 20, rate: 400, payload: PAYLOAD };
        let timing = parse("").expect("all have defaults");
        assert_eq!(load(&shape, 1_000, timing).timing.time.duration, Duration::from_secs(2 + 50 + 5));
    }

    #[test]
    fn headlines_are_shown_for_each_number_of_missed_records() {
        let found = sample();
        let headlines: Vec<_> = found.headlines().iter().map(ToString::to_string).collect();
        let expected = [
            "resumes per second, 20 behind: 4000",
            "CPU per resume, µs, 20 behind: –",
            "resumes per second, 1000 behind: 4000",
            "CPU per resume, µs, 1000 behind: –",
        ];
        assert_eq!(headlines, expected);
    }
}
