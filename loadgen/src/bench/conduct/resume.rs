//! What it costs that everybody comes back at once: from a node's window, and with so much to catch up that Kafka is read.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::{
    cli,
    cli::Pace,
    headline::Headline,
    load::{Load, Storm},
    load_report::{LoadReport, StormFound},
    results::Found,
    stage::Stage,
    table::Table,
    watch::Rise,
};
use crate::bench::{
    figures::{count, figure, median, ratio},
    shape::Shape,
};

/// Before all are dropped.
const BEFORE: Duration = Duration::from_secs(2);

/// For how long events go on when all have come back.
const AFTER: Duration = Duration::from_secs(5);

/// How many records of each key come in the second in which nobody is there who comes back to a window.
const AWAY_SECONDS: u32 = 1;

/// The size of an event's value.
pub(super) const PAYLOAD: u32 = 200;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Resume {
    shape: Shape,
    rounds: Vec<Round>,
    headlines: Vec<Headline>,
}

/// All come back once.
#[derive(Debug, Serialize)]
struct Round {
    behind: u32,
    node: LoadReport,
    resumes: Option<Rise>,
}

/// Drops everybody, once with little and once with much to catch up.
pub(crate) async fn measure(stage: &Stage, asked: &cli::Resume) -> Result<Resume> {
    let (shape, behind) = (asked.shape(), asked.behind);
    let few = (shape.rate * AWAY_SECONDS / shape.keys).max(1);
    let mut rounds = Vec::new();
    for number in 1..=stage.pace.rounds {
        for behind in [few, behind] {
            stage.tell(&format!("resume, {shape}, {behind} behind, round {number} of {}", stage.pace.rounds));
            let load = load(&shape, behind, stage.pace);
            let (node, watch) = stage.watched_node(&load).await?;
            rounds.push(Round { behind, node, resumes: watch.second_rise(shape.connections.into()) });
        }
    }
    Ok(Resume::new(shape, [few, behind], rounds))
}

/// Returns the load that has time for everybody to miss so much.
fn load(shape: &Shape, behind: u32, pace: Pace) -> Load {
    let away = Duration::from_secs_f64(f64::from(behind) * f64::from(shape.keys) / f64::from(shape.rate));
    let pace = Pace { warmup: BEFORE, duration: BEFORE + away + AFTER, ..pace };
    Load { storm: Some(Storm { at: BEFORE, behind }), full: true, ..Load::of(shape, pace) }
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
                Headline::unbounded(
                    format!("CPU of a resume, µs, {behind} behind"),
                    median(Round::resume_us),
                ),
            ]
        };
        let headlines = behind.into_iter().flat_map(headlines).collect();
        Self { shape, rounds, headlines }
    }
}

impl Round {
    fn storm(&self) -> Option<&StormFound> {
        self.node.storm.as_ref()
    }

    /// Resumes per second, until the last one had its subscription again.
    fn per_second(&self) -> Option<f64> {
        let storm = self.storm()?;
        ratio(count(storm.resumed), storm.resumed_seconds?)
    }

    fn resume_us(&self) -> Option<f64> {
        self.resumes?.cpu_us_each
    }
}

impl Found for Resume {
    fn title(&self) -> String {
        format!("all dropped at once: {}", self.shape)
    }

    fn headlines(&self) -> &[Headline] {
        &self.headlines
    }

    fn runs(&self) -> Vec<&LoadReport> {
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

/// What may be found.
#[cfg(test)]
pub(crate) fn sample() -> Resume {
    let shape = Shape { connections: 10_000, keys: 20, rate: 400, payload: PAYLOAD };
    let round = |behind: u32| {
        let mut node = super::round::sample(1.0, 1.0, 1).node;
        node.storm = Some(StormFound {
            resumed: 10_000,
            resumed_seconds: Some(2.5),
            caught_up: 10_000,
            caught_up_seconds: Some(3.0),
            behind_min: Some(behind.into()),
            behind_max: behind.into(),
            catch_up_ratio: None,
        });
        Round { behind, node, resumes: None }
    };
    Resume::new(shape, [20, 1_000], vec![round(20), round(1_000)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_long_enough_for_everybody_to_miss_as_much() {
        let shape = Shape { connections: 10_000, keys: 20, rate: 400, payload: PAYLOAD };
        let pace = Pace { rounds: 1, duration: Duration::ZERO, warmup: Duration::ZERO };
        assert_eq!(load(&shape, 1_000, pace).pace.duration, Duration::from_secs(2 + 50 + 5));
    }

    #[test]
    fn headlines_are_of_each_number_of_records_that_were_missed() {
        let found = sample();
        let headlines: Vec<_> = found.headlines().iter().map(ToString::to_string).collect();
        let expected = [
            "resumes per second, 20 behind: 4000",
            "CPU of a resume, µs, 20 behind: –",
            "resumes per second, 1000 behind: 4000",
            "CPU of a resume, µs, 1000 behind: –",
        ];
        assert_eq!(headlines, expected);
    }
}
