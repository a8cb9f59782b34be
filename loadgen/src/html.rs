//! The results as a page: one file without scripts, with latency by percentile and the run second by second.

mod chart;

use std::io::{self, Write};

use self::chart::{Axis, Chart, Line};
use crate::{
    interval::Distribution,
    report::{Report, Verdict, float},
    tally::Second,
};

/// Between two percentiles of which one is half as far from 100 % as the other: so many points.
const POINTS_PER_HALVING: u32 = 8;

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #d5d9de; --l0: #0b62c4; --l1: #c4570b; --good: #187a35; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e4e7ea; --faint: #343a40; --l0: #6cb0ff; --l1: #ffa05c; --good: #6ed38b; --bad: #ff8a80 } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; margin: 2rem 0 .3rem }
pre { overflow-x: auto; font: 12.5px/1.5 ui-monospace, monospace }
.good { color: var(--good) } .bad { color: var(--bad) }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .grid { stroke: var(--faint) } svg .line { fill: none; stroke-width: 1.6 }
svg path.l0 { stroke: var(--l0) } svg path.l1 { stroke: var(--l1) } svg text.l0 { fill: var(--l0) } svg text.l1 { fill: var(--l1) }
";

/// Writes the page.
pub(crate) fn write(
    report: &Report,
    latency: &Distribution,
    kafka: Option<&Distribution>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = escape(report.asked.scenario.as_deref().unwrap_or("loadgen"));
    let (class, verdict) = match report.verdict {
        Verdict::Clean => ("good", "clean"),
        Verdict::Violated => ("bad", "not clean"),
        Verdict::Saturated => ("bad", "no verdict: loadgen was saturated"),
        Verdict::ThresholdFailed => ("bad", "a threshold failed"),
    };
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}: {verdict}</title>\n\
         <style>{STYLE}</style>\n<h1>{name}: <span class=\"{class}\">{verdict}</span></h1>\n<pre>{}</pre>",
        escape(&report.to_string())
    )?;
    let charts = [
        by_percentile(latency, kafka),
        over_time(
            "Latency by second, ms",
            "ms",
            &report.timeline,
            &[("p50", |second| second.p50_us.map(ms)), ("p99", |second| second.p99_us.map(ms))],
        ),
        over_time(
            "Deliveries per second",
            "per second",
            &report.timeline,
            &[("deliveries", |second| Some(second.deliveries_per_second))],
        ),
    ];
    for chart in charts {
        write!(out, "{chart}")?;
    }
    writeln!(out, "</html>")
}

/// What a line over time shows of a second.
type Read = fn(&Second) -> Option<f64>;

fn over_time(
    title: &'static str,
    unit: &'static str,
    timeline: &[Second],
    lines: &[(&'static str, Read)],
) -> Chart {
    let end = timeline.last().map_or(1.0, |second| second.at_seconds).max(1.0);
    let all = timeline.iter().flat_map(|second| lines.iter().filter_map(|(_, read)| read(second)));
    let highest = all.fold(0.0, f64::max);
    let line = |(name, read): &(&'static str, Read)| Line {
        name,
        points: timeline.iter().map(|second| (second.at_seconds, read(second))).collect(),
    };
    let (x, y) = (Axis::round("seconds", end), Axis::round(unit, highest));
    Chart { title, x, y, lines: lines.iter().map(line).collect() }
}

/// The farther right, the rarer: each step of the axis is a tenth of what is left.
fn by_percentile(latency: &Distribution, kafka: Option<&Distribution>) -> Chart {
    let far = |quantile: f64| -(1.0 - quantile).log10();
    let line = |name, of: &Distribution| {
        let steps = of.0.iter_quantiles(POINTS_PER_HALVING).filter(|step| step.quantile() < 1.0);
        Line {
            name,
            points: steps.map(|step| (far(step.quantile()), Some(ms(step.value_iterated_to())))).collect(),
        }
    };
    let kafka = kafka.map(|of| line("bare Kafka", of));
    let lines: Vec<_> = std::iter::once(line("latency", latency)).chain(kafka).collect();
    let end = lines.iter().filter_map(|line| line.points.last()).map(|(x, _)| *x).fold(1.0, f64::max);
    let ticks = [
        (0.0, "0"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
        (0.999_999, "99.9999 %"),
    ];
    let ticks = ticks.into_iter().map(|(quantile, text)| (far(quantile), text.to_owned()));
    let x = Axis { name: "percentile", max: end, ticks: ticks.filter(|(x, _)| *x <= end).collect() };
    let highest = lines.iter().flat_map(|line| &line.points).filter_map(|(_, y)| *y).fold(0.0, f64::max);
    Chart { title: "Latency by percentile, ms", x, y: Axis::round("ms", highest), lines }
}

fn ms(us: u64) -> f64 {
    float(us) / 1000.0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn page(report: &Report, latency: &Distribution, kafka: Option<&Distribution>) -> String {
        let mut page = Vec::new();
        write(report, latency, kafka, &mut page).expect("a vector takes it");
        String::from_utf8(page).expect("it is text")
    }

    #[test]
    fn a_page_stands_alone_and_shows_the_run() {
        let mut latency = Distribution::new();
        (1..100_000).for_each(|us| latency.record(us));
        let page = page(&sample::full(), &latency, Some(&latency));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("class=\"line").count(), 5);
        assert!(page.contains("99.9 %"), "the axis reaches what was measured");
        assert!(page.contains("NOT CLEAN") && page.contains("✓ p99&lt;20ms"), "{page}");
        for elsewhere in ["http://", "https://", "<script", "src=", "@import", "NaN", "inf"] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_page_of_nothing_is_a_page() {
        let page = page(&sample::bare(), &Distribution::new(), None);
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn names_are_text_and_no_markup() {
        let mut report = sample::bare();
        report.asked.scenario = Some("<script>".into());
        assert!(!page(&report, &Distribution::new(), None).contains("<script"));
    }
}
