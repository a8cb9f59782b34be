//! The results, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::{events::Events, flags::Flags, method::Method};
use crate::bench::{
    cost::Cost,
    figures::{figure, median, quotient},
};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    shape: Events,
    methods: Vec<MethodFigures>,
}

/// The cost of one method.
#[derive(Debug, Serialize)]
struct MethodFigures {
    method: Method,
    events_per_request: u64,
    in_flight_max: u64,
    rounds: Vec<RoundFigures>,
    /// Median over the rounds.
    ratio_median: Option<f64>,
    /// The lower bound of the median; `null`: not judged.
    bound: Option<f64>,
}

/// One measurement of each side.
#[derive(Debug, Serialize)]
struct RoundFigures {
    ingest: Figures,
    bare: Figures,
    /// Events per CPU-second of ingest divided by those of the bare producer; `null`: too few
    /// events to measure.
    ratio: Option<f64>,
}

/// The cost of publishing.
#[derive(Debug, Clone, Copy, Serialize)]
struct Figures {
    events: u64,
    events_per_second: Option<f64>,
    cpu_seconds: f64,
    cpu_us_per_event: Option<f64>,
    events_per_cpu_second: Option<f64>,
}

impl Report {
    pub(crate) fn new(flags: &Flags, rounds: &[(Method, Vec<(Cost, Cost)>)]) -> Self {
        let methods = rounds.iter().map(|(method, rounds)| {
            let bound = (*method == Method::Stream).then_some(flags.bound);
            MethodFigures::new(*method, rounds, bound)
        });
        Self { shape: flags.shape, methods: methods.collect() }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.methods.iter().all(|method| method.is_kept() != Some(false))
    }
}

impl MethodFigures {
    fn new(method: Method, rounds: &[(Cost, Cost)], bound: Option<f64>) -> Self {
        let rounds: Vec<_> = rounds.iter().map(RoundFigures::new).collect();
        let ratio_median = median(rounds.iter().map(|round| round.ratio));
        Self {
            method,
            events_per_request: method.per_request(),
            in_flight_max: method.in_flight(),
            rounds,
            ratio_median,
            bound,
        }
    }

    /// Returns whether the bound was kept, if there is one. A missing figure misses its bound.
    fn is_kept(&self) -> Option<bool> {
        let bound = self.bound?;
        Some(self.ratio_median.is_some_and(|median| median >= bound))
    }
}

impl RoundFigures {
    fn new((ingest, bare): &(Cost, Cost)) -> Self {
        let (ingest, bare) = (Figures::new(ingest), Figures::new(bare));
        let ratio = quotient(ingest.events_per_cpu_second, bare.events_per_cpu_second);
        Self { ingest, bare, ratio }
    }
}

impl Figures {
    fn new(cost: &Cost) -> Self {
        Self {
            events: cost.count,
            events_per_second: cost.per_second(),
            cpu_seconds: cost.cpu.as_secs_f64(),
            cpu_us_per_event: cost.cpu_us_each(),
            events_per_cpu_second: cost.per_cpu_second(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Events { payload, keys } = self.shape;
        writeln!(f, "events of {payload} bytes, {keys} keys; per CPU-second")?;
        self.methods.iter().try_for_each(|method| write!(f, "{method}"))
    }
}

impl fmt::Display for MethodFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, events_per_request, in_flight_max, .. } = self;
        writeln!(f, "{method}: {events_per_request} in a request, at most {in_flight_max} in flight")?;
        for RoundFigures { ingest, bare, ratio } in &self.rounds {
            writeln!(f, "  ingest {ingest}   bare producer {bare}   ratio {}", figure(*ratio, 3))?;
        }
        let mark = match self.is_kept() {
            None => "",
            Some(true) => "✓ ",
            Some(false) => "✗ ",
        };
        write!(f, "  {mark}median {}", figure(self.ratio_median, 3))?;
        match self.bound {
            Some(bound) => writeln!(f, ", must be at least {bound}"),
            None => writeln!(f),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_cpu, us) = (figure(self.events_per_cpu_second, 0), figure(self.cpu_us_per_event, 2));
        write!(f, "{per_cpu:>7} ({us:>5} µs each, {}/s)", figure(self.events_per_second, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{bench::flags::parse, schema};

    fn cost(count: u64, cpu_ms: u64) -> Cost {
        Cost { count, took: Duration::from_secs(2), cpu: Duration::from_millis(cpu_ms) }
    }

    fn report(ingest_ms: &[u64]) -> Report {
        let round = |ms: &u64| (cost(1_000_000, *ms), cost(1_000_000, 1_000));
        let rounds: Vec<_> = ingest_ms.iter().map(round).collect();
        let flags = parse("").expect("all have defaults");
        Report::new(&flags, &[(Method::Unary, rounds.clone()), (Method::Stream, rounds)])
    }

    #[test]
    fn only_the_streams_median_is_compared_with_the_bound() {
        let kept = report(&[2_500, 2_000, 1_000]);
        assert!(kept.is_kept());
        let text = kept.to_string();
        assert!(
            text.contains("ingest  400000 ( 2.50 µs each, 500000/s)   bare producer 1000000 ( 1.00 µs each"),
            "{text}"
        );
        assert!(text.contains("ratio 0.400"), "{text}");
        assert!(
            text.contains("  median 0.500\n") && text.contains("✓ median 0.500, must be at least 0.5"),
            "{text}"
        );
        let missed = report(&[2_500, 2_001, 1_000]);
        assert!(!missed.is_kept());
        assert!(missed.to_string().contains("✗ median 0.500, must be at least 0.5"), "{missed}");
    }

    #[test]
    fn a_report_conforms_to_its_schema() {
        for report in [report(&[2_500, 1_000]), report(&[0])] {
            let json = serde_json::to_value(&report).expect("figures are JSON");
            assert_eq!(schema::violations("ingest_cost", &json), Vec::<String>::new());
        }
    }

    #[test]
    fn a_round_too_short_to_measure_misses_its_bound() {
        let nothing = report(&[0]);
        assert!(!nothing.is_kept());
        let json = serde_json::to_value(&nothing).expect("figures are JSON");
        assert!(json["methods"][0]["ratio_median"].is_null() && json["payload"] == 200, "{json}");
    }
}
