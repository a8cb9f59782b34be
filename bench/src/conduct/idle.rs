//! What a connection costs: its memory while nothing and while something comes, and to open it.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::{
    bound::Bound, cli, cli::Pace, load::Load, load_report::LoadReport, results::Found, stage::Stage,
    table::Table, watch::Rise,
};
use crate::{
    figures::{count, figure, median},
    shape::{Preset, Shape},
};

/// Faster than any node: connections are opened as fast as it takes them.
const CONNECT_RATE: u32 = 100_000;

/// How long the load is on when only connecting is measured.
const SHORT: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    shape: Shape,
    rounds: Vec<Round>,
    bounds: Vec<Bound>,
}

/// A node that is filled slowly and put under load, and another that is filled as fast as it can be.
#[derive(Debug, Serialize)]
struct Round {
    loaded: LoadReport,
    /// What of the memory under load were windows and their encodings, which are not connections'.
    windows_bytes: Option<f64>,
    filled: LoadReport,
    connects: Option<Rise>,
}

/// Fills nodes.
pub(crate) async fn measure(stage: &Stage, asked: &cli::Idle) -> Result<Idle> {
    let shape = asked.shape.shape();
    let loaded = Load::of(&shape, stage.pace);
    let pace = Pace { warmup: SHORT, duration: SHORT, ..stage.pace };
    let filled = Load { connect_rate: CONNECT_RATE, pace, ..loaded.clone() };
    let mut rounds = Vec::new();
    for number in 1..=stage.pace.rounds {
        let at = format!("idle, {shape}, round {number} of {}", stage.pace.rounds);
        stage.tell(&format!("{at}: memory"));
        let (loaded, watch) = stage.watched_node(&loaded).await?;
        let windows_bytes = watch.windows_bytes_max();
        stage.tell(&format!("{at}: connecting"));
        let (filled, watch) = stage.watched_node(&filled).await?;
        let connects = watch.first_rise(shape.connections.into());
        rounds.push(Round { loaded, windows_bytes, filled, connects });
    }
    Ok(Idle::new(shape, rounds))
}

impl Idle {
    fn new(shape: Shape, rounds: Vec<Round>) -> Self {
        let bounds = if shape == Preset::S1.shape() {
            let idle = median(rounds.iter().map(Round::idle_kb));
            let loaded = median(rounds.iter().map(Round::loaded_kb));
            vec![
                Bound::at_most("KB of a connection, idle", idle, 10.0),
                Bound::at_most("KB of a connection under load, windows included", loaded, 12.0),
            ]
        } else {
            Vec::new()
        };
        Self { shape, rounds, bounds }
    }
}

impl Round {
    fn idle_kb(&self) -> Option<f64> {
        self.loaded.memory.as_ref()?.per_idle_connection.map(|bytes| count(bytes) / 1e3)
    }

    fn loaded_kb(&self) -> Option<f64> {
        self.loaded.memory.as_ref()?.per_connection_at_end.map(|bytes| count(bytes) / 1e3)
    }
}

impl Found for Idle {
    fn bounds(&self) -> &[Bound] {
        &self.bounds
    }

    fn runs(&self) -> Vec<&LoadReport> {
        self.rounds.iter().flat_map(|round| [&round.loaded, &round.filled]).collect()
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### Connections: {}\n", self.shape)?;
        let mut table =
            Table::new(&["round", "KB idle", "KB under load", "of it windows", "connects/s", "CPU µs each"]);
        for (number, round) in (1..).zip(&self.rounds) {
            let windows = round.windows_bytes.map(|bytes| bytes / 1e3 / f64::from(self.shape.connections));
            let number: usize = number;
            table.row(vec![
                number.to_string(),
                figure(round.idle_kb(), 1),
                figure(round.loaded_kb(), 1),
                figure(windows, 1),
                figure(round.connects.and_then(|rise| rise.per_second), 0),
                figure(round.connects.and_then(|rise| rise.cpu_us_each), 0),
            ]);
        }
        write!(f, "{table}")
    }
}
