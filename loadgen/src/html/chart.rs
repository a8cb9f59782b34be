//! A line chart as SVG: axes with round numbers, and lines with gaps where nothing was measured.

use std::fmt::{self, Write as _};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;

/// Around the plot, for numbers and names: left, right, top, bottom.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;

/// How many numbers an axis has, about.
const TICKS: f64 = 6.0;

/// A line chart.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// An axis: what it shows, from where to where, and where it has numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) max: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

/// A line: a name, and points from left to right; `None` is a gap.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Axis {
    /// Makes an axis from 0 to a round number not below `max`.
    pub(super) fn round(name: &'static str, max: f64) -> Self {
        let step = step(max);
        let count = (max / step).ceil().max(1.0);
        let ticks =
            (0..).map(f64::from).take_while(|at| *at <= count).map(|at| (at * step, number(at * step)));
        Self { name, max: count * step, ticks: ticks.collect() }
    }
}

/// Returns 1, 2 or 5 times a power of ten, so that some [`TICKS`] of them reach `max`.
fn step(max: f64) -> f64 {
    if !max.is_finite() || max <= 0.0 {
        return 1.0;
    }
    let raw = max / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw * 0.999);
    factor.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", trimmed(value / 1e6))
    } else if value >= 1e4 {
        format!("{}k", trimmed(value / 1e3))
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Chart {
    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.x.max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value.min(self.y.max) / self.y.max * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in &self.x.ticks {
            let x = self.x(*value);
            writeln!(f, r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/>"#)?;
            let below = bottom + 16.0;
            writeln!(f, r#"<text x="{x:.1}" y="{below}" text-anchor="middle">{text}</text>"#)?;
        }
        for (value, text) in &self.y.ticks {
            let y = self.y(*value);
            writeln!(f, r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#)?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(f, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{text}</text>"#)?;
        }
        let (middle, end) = ((LEFT + right) / 2.0, HEIGHT - 6.0);
        writeln!(f, r#"<text x="{middle}" y="{end}" text-anchor="middle">{}</text>"#, self.x.name)?;
        writeln!(f, r#"<text x="{LEFT}" y="14">{}</text>"#, self.y.name)
    }

    /// Returns the path of a line: it is lifted over gaps.
    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        let mut down = false;
        for (x, y) in &line.points {
            if let Some(y) = y {
                let command = if down { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
            }
            down = y.is_some();
        }
        path
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h2>{}</h2>", self.title)?;
        writeln!(f, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, self.title)?;
        self.axes(f)?;
        for (number, line) in self.lines.iter().enumerate() {
            writeln!(f, r#"<path class="line l{number}" d="{}"/>"#, self.path(line))?;
            let x = WIDTH - RIGHT - 70.0 * f64::from(u32::try_from(number).unwrap_or_default());
            writeln!(f, r#"<text class="l{number}" x="{x}" y="14" text-anchor="end">{}</text>"#, line.name)?;
        }
        writeln!(f, "</svg>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(max: f64, expected: &str) {
        let axis = Axis::round("", max);
        let found: Vec<_> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(found.join(" "), expected);
        assert!(axis.max >= max);
    }

    #[test]
    fn axes_have_round_numbers() {
        check(0.0, "0 1");
        check(6.0, "0 1 2 3 4 5 6");
        check(11.0, "0 2 4 6 8 10 12");
        check(0.55, "0 0.1 0.2 0.3 0.4 0.5 0.6");
        check(60_000.0, "0 10k 20k 30k 40k 50k 60k");
        check(2_500_000.0, "0 500k 1M 1.5M 2M 2.5M");
    }

    #[test]
    fn a_line_is_lifted_over_what_was_not_measured() {
        let points = vec![(0.0, None), (1.0, Some(1.0)), (2.0, Some(2.0)), (3.0, None), (4.0, Some(0.0))];
        let line = Line { name: "p50", points };
        let (x, y) = (Axis::round("", 4.0), Axis::round("", 2.0));
        let chart = Chart { title: "", x, y, lines: vec![] };
        let path = chart.path(&line);
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(path.ends_with("844.0 260.0"), "{path}");
    }
}
