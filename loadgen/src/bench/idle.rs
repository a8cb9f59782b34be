//! The cost of a connection: its memory, idle and under load, and the CPU to open it.

use std::{fmt, time::Duration};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{
    headline::Headline,
    load::Load,
    shape::ShapeFlags,
    summary::Summary,
    table::Table,
    testbed::Testbed,
    timing::{Time, Timing},
    watch::Rise,
};
use crate::{
    bench::{
        figures::{count, figure, median},
        shape::{Preset, Shape},
    },
    report::Report,
};

/// Higher than any node's speed, so that the node sets the pace.
const CONNECT_RATE: u32 = 100_000;

/// How long the load runs when only connecting is measured.
const SHORT: Duration = Duration::from_secs(1);

/// The number of connections, and the load on them.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct IdleFlags {
    #[command(flatten)]
    pub(crate) shape: ShapeFlags,
}

impl Default for IdleFlags {
    fn default() -> Self {
        Self { shape: Preset::S1.into() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    shape: Shape,
    rounds: Vec<Round>,
    headlines: Vec<Headline>,
}

/// One node filled slowly and put under load, and another filled as fast as possible.
#[derive(Debug, Serialize)]
struct Round {
    loaded: Report,
    /// Windows and their encodings, which are part of the memory under load but not of the
    /// connections.
    windows_bytes: Option<f64>,
    filled: Report,
    connects: Option<Rise>,
}

/// Fills nodes.
pub(crate) async fn measure(testbed: &Testbed, flags: &IdleFlags) -> Result<Idle> {
    let shape = flags.shape.shape();
    let loaded = Load::of(&shape, testbed.timing);
    let timing = Timing { time: Time { warmup: SHORT, duration: SHORT }, ..testbed.timing };
    let filled = Load { connect_rate: CONNECT_RATE, timing, ..loaded.clone() };
    let mut rounds = Vec::new();
    for number in 1..=testbed.timing.rounds {
        let at = format!("idle, {shape}, round {number} of {}", testbed.timing.rounds);
        testbed.report(&format!("{at}: memory"));
        let (loaded, watch) = testbed.watched_node(&loaded).await?;
        let windows_bytes = watch.windows_bytes_max();
        testbed.report(&format!("{at}: connecting"));
        let (filled, watch) = testbed.watched_node(&filled).await?;
        let connects = watch.first_rise(shape.connections.into());
        rounds.push(Round { loaded, windows_bytes, filled, connects });
    }
    Ok(Idle::new(shape, rounds))
}

impl Idle {
    fn new(shape: Shape, rounds: Vec<Round>) -> Self {
        let median = |of: fn(&Round) -> Option<f64>| median(rounds.iter().map(of));
        let kb = |what: &str, value, most| {
            let headline = Headline::at_most(format!("KB per connection, {what}"), value, most);
            if shape == Preset::S1.shape() { headline } else { headline.without_bound() }
        };
        let headlines = vec![
            kb("idle", median(Round::idle_kb), 10.0),
            kb("under load, windows included", median(Round::loaded_kb), 12.0),
            Headline::unbounded("connects per second", median(Round::connects_per_second)),
            Headline::unbounded("CPU per connect, µs", median(Round::connect_us)),
        ];
        Self { shape, rounds, headlines }
    }
}

impl Round {
    fn idle_kb(&self) -> Option<f64> {
        self.loaded.memory.as_ref()?.per_idle_connection.map(|bytes| count(bytes) / 1e3)
    }

    fn loaded_kb(&self) -> Option<f64> {
        self.loaded.memory.as_ref()?.per_connection_at_end.map(|bytes| count(bytes) / 1e3)
    }

    fn connects_per_second(&self) -> Option<f64> {
        self.connects?.per_second
    }

    fn connect_us(&self) -> Option<f64> {
        self.connects?.cpu_us_each
    }
}

impl Summary for Idle {
    fn title(&self) -> String {
        format!("connections: {}", self.shape)
    }

    fn headlines(&self) -> &[Headline] {
        &self.headlines
    }

    fn runs(&self) -> Vec<&Report> {
        self.rounds.iter().flat_map(|round| [&round.loaded, &round.filled]).collect()
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table =
            Table::new(&["round", "KB idle", "KB under load", "windows", "connects/s", "CPU µs each"]);
        for (number, round) in (1..).zip(&self.rounds) {
            let windows = round.windows_bytes.map(|bytes| bytes / 1e3 / f64::from(self.shape.connections));
            let number: usize = number;
            table.row(vec![
                number.to_string(),
                figure(round.idle_kb(), 1),
                figure(round.loaded_kb(), 1),
                figure(windows, 1),
                figure(round.connects_per_second(), 0),
                figure(round.connect_us(), 0),
            ]);
        }
        write!(f, "{table}")
    }
}

/// A plausible result.
#[cfg(test)]
pub(crate) fn sample() -> Idle {
    let run = || super::round::sample(1.0, 1.0, 1).node;
    let connects = Some(Rise { per_second: Some(5_000.0), cpu_us_each: Some(90.0) });
    let round = Round { loaded: run(), windows_bytes: Some(1e6), filled: run(), connects };
    Idle::new(Preset::S1.shape(), vec![round])
}
