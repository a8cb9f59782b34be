//! What it costs that everybody comes back at once: from a node's window, and with so much to catch up that Kafka is read.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::{
    bound::Bound,
    cli,
    cli::Pace,
    load::{Load, Storm},
    load_report::{LoadReport, StormFound},
    results::Found,
    stage::Stage,
    table::Table,
    watch::Rise,
};
use crate::{
    figures::{count, figure, ratio},
    shape::Shape,
};

/// Before all are dropped.
const BEFORE: Duration = Duration::from_secs(2);

/// For how long events go on when all have come back.
const AFTER: Duration = Duration::from_secs(15);

/// How many records of each key come in the second in which nobody is there who comes back to a window.
const AWAY_SECONDS: u32 = 1;

/// The size of an event's value.
const PAYLOAD: u32 = 200;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Resume {
    shape: Shape,
    rounds: Vec<Round>,
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
    let cli::Resume { connections, keys, rate, behind } = *asked;
    let shape = Shape { connections, keys, rate, payload: PAYLOAD };
    let few = (rate * AWAY_SECONDS / keys).max(1);
    let mut rounds = Vec::new();
    for number in 1..=stage.pace.rounds {
        for behind in [few, behind] {
            stage.tell(&format!("resume, {shape}, {behind} behind, round {number} of {}", stage.pace.rounds));
            let load = load(&shape, behind, stage.pace);
            let (node, watch) = stage.watched_node(&load).await?;
            rounds.push(Round { behind, node, resumes: watch.second_rise(connections.into()) });
        }
    }
    Ok(Resume { shape, rounds })
}

/// Returns the load that has time for everybody to miss so much.
fn load(shape: &Shape, behind: u32, pace: Pace) -> Load {
    let away = Duration::from_secs_f64(f64::from(behind) * f64::from(shape.keys) / f64::from(shape.rate));
    let pace = Pace { warmup: BEFORE, duration: BEFORE + away + AFTER, ..pace };
    Load { storm: Some(Storm { at: BEFORE, behind }), full: true, ..Load::of(shape, pace) }
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
}

impl Found for Resume {
    fn bounds(&self) -> &[Bound] {
        &[]
    }

    fn runs(&self) -> Vec<&LoadReport> {
        self.rounds.iter().map(|round| &round.node).collect()
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### All dropped at once: {}\n", self.shape)?;
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
                figure(round.resumes.and_then(|rise| rise.cpu_us_each), 0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_long_enough_for_everybody_to_miss_as_much() {
        let shape = Shape { connections: 10_000, keys: 20, rate: 400, payload: PAYLOAD };
        let pace = Pace { rounds: 1, duration: Duration::ZERO, warmup: Duration::ZERO };
        assert_eq!(load(&shape, 1_000, pace).pace.duration, Duration::from_secs(2 + 50 + 15));
    }
}
