//! The results, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::flags::{Backlog, Flags, Watch};
use crate::bench::{
    cost::Cost,
    figures::{figure, median, quotient},
};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    backlog: Backlog,
    watches: Vec<WatchFigures>,
}

/// The feed's speed with one kind of channel.
#[derive(Debug, Serialize)]
struct WatchFigures {
    watch: Watch,
    rounds: Vec<RoundFigures>,
    /// Median over the rounds.
    ratio_median: Option<f64>,
    /// The lower bound of the median.
    bound: f64,
}

/// One measurement of each side.
#[derive(Debug, Serialize)]
struct RoundFigures {
    feed: Figures,
    bare: Figures,
    /// Records per second of the feed divided by those of the bare consumer.
    ratio: Option<f64>,
}

/// The cost of reading.
#[derive(Debug, Clone, Copy, Serialize)]
struct Figures {
    records_per_second: Option<f64>,
    cpu_us_per_record: Option<f64>,
}

impl Report {
    pub(crate) fn new(flags: &Flags, rounds: &[(Watch, Vec<(Cost, Cost)>)]) -> Self {
        let watches = rounds.iter().map(|(watch, rounds)| WatchFigures::new(*watch, rounds, flags.bound));
        Self { backlog: flags.backlog, watches: watches.collect() }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.watches.iter().all(WatchFigures::is_kept)
    }
}

impl WatchFigures {
    fn new(watch: Watch, rounds: &[(Cost, Cost)], bound: f64) -> Self {
        let rounds: Vec<_> = rounds.iter().map(RoundFigures::new).collect();
        let ratio_median = median(rounds.iter().map(|round| round.ratio));
        Self { watch, rounds, ratio_median, bound }
    }

    fn is_kept(&self) -> bool {
        self.ratio_median.is_some_and(|median| median >= self.bound)
    }
}

impl RoundFigures {
    fn new((feed, bare): &(Cost, Cost)) -> Self {
        let (feed, bare) = (Figures::new(feed), Figures::new(bare));
        Self { feed, bare, ratio: quotient(feed.records_per_second, bare.records_per_second) }
    }
}

impl Figures {
    fn new(cost: &Cost) -> Self {
        Self { records_per_second: cost.per_second(), cpu_us_per_record: cost.cpu_us_each() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Backlog { records, payload, keys } = self.backlog;
        writeln!(f, "{records} records of {payload} bytes, {keys} keys; per second")?;
        self.watches.iter().try_for_each(|watch| write!(f, "{watch}"))
    }
}

impl fmt::Display for WatchFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "watched: {}", self.watch.name())?;
        for RoundFigures { feed, bare, ratio } in &self.rounds {
            writeln!(f, "  feed {feed}   bare consumer {bare}   ratio {}", figure(*ratio, 3))?;
        }
        let mark = if self.is_kept() { '✓' } else { '✗' };
        writeln!(f, "  {mark} median {}, must be at least {}", figure(self.ratio_median, 3), self.bound)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, us) = (figure(self.records_per_second, 0), figure(self.cpu_us_per_record, 2));
        write!(f, "{rate:>8} (CPU {us:>5} µs each)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{bench::flags::parse, schema};

    fn cost(took_ms: u64) -> Cost {
        Cost { count: 2_000_000, took: Duration::from_millis(took_ms), cpu: Duration::from_secs(4) }
    }

    fn report(feed_ms: &[u64]) -> Report {
        let rounds = feed_ms.iter().map(|ms| (cost(*ms), cost(2_000))).collect();
        let flags = parse("").expect("all have defaults");
        Report::new(&flags, &[(Watch::Nothing, vec![(cost(2_000), cost(2_000))]), (Watch::Keys, rounds)])
    }

    #[test]
    fn a_report_conforms_to_its_schema() {
        for report in [report(&[8_000, 4_000]), report(&[0])] {
            let json = serde_json::to_value(&report).expect("figures are JSON");
            assert_eq!(schema::violations("feed_rate", &json), Vec::<String>::new());
        }
    }

    #[test]
    fn the_median_of_each_is_compared_with_the_bound() {
        let kept = report(&[8_000, 4_000, 2_000]);
        assert!(kept.is_kept());
        let text = kept.to_string();
        assert!(
            text.contains(
                "feed   250000 (CPU  2.00 µs each)   bare consumer  1000000 (CPU  2.00 µs each)   ratio 0.250"
            ),
            "{text}"
        );
        assert!(text.ends_with("✓ median 0.500, must be at least 0.5\n"), "{text}");
        let missed = report(&[8_000, 4_001, 2_000]);
        assert!(!missed.is_kept());
        assert!(missed.to_string().ends_with("✗ median 0.500, must be at least 0.5\n"), "{missed}");
        let json = serde_json::to_value(&missed).expect("figures are JSON");
        assert!(json["watches"][1]["watch"] == "keys" && json["payload"] == 512, "{json}");
    }
}
