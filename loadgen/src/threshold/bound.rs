//! The bound of a threshold: a number, or a multiple of the same figure elsewhere.

use crate::figures::Unit;

/// The bound of a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    /// The factor and the figure it applies to; `None`: the bound is a number.
    pub(super) times: Option<(f64, Reference)>,
    /// A number to add, in the figure's unit.
    plus: f64,
}

/// The origin of the other figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    /// An earlier run.
    Baseline,
    /// The bare consumer of this run.
    Kafka,
}

/// Their notation.
const REFERENCES: [(&str, Reference); 2] = [("*baseline", Reference::Baseline), ("*kafka", Reference::Kafka)];

/// The suffixes of each unit, with their factors.
const NUMBERS: [(&str, f64); 1] = [("", 1.0)];
const TIMES: [(&str, f64); 4] = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const SIZES: [(&str, f64); 4] = [("KiB", 1024.0), ("MiB", 1_048_576.0), ("B", 1.0), ("", 1.0)];

impl Bound {
    /// Parses `20ms`, `1.25*baseline` or `1.3*kafka+5ms`, with the suffixes of a unit.
    pub(super) fn parse(text: &str, unit: Unit) -> Option<Self> {
        let found = REFERENCES.iter().find_map(|(word, of)| Some((text.split_once(word)?, *of)));
        let Some(((factor, plus), of)) = found else {
            return Some(Self { times: None, plus: quantity(text, suffixes(unit))? });
        };
        let factor = quantity(factor, &NUMBERS).filter(|factor| *factor > 0.0)?;
        let plus = match plus.trim() {
            "" => 0.0,
            plus => quantity(plus.strip_prefix('+')?, suffixes(unit))?,
        };
        Some(Self { times: Some((factor, of)), plus })
    }

    /// Returns it as a number, given the figure elsewhere; `None` if that was not measured.
    pub(super) fn value(&self, elsewhere: Option<f64>) -> Option<f64> {
        match self.times {
            None => Some(self.plus),
            Some((factor, _)) => Some(factor * elsewhere? + self.plus),
        }
    }
}

/// Describes a number of a unit.
pub(super) fn form(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "a number",
        Unit::Time => "a time in us, ms or s",
        Unit::Bytes => "a size in B, KiB or MiB",
    }
}

fn suffixes(unit: Unit) -> &'static [(&'static str, f64)] {
    match unit {
        Unit::Number => &NUMBERS,
        Unit::Time => &TIMES,
        Unit::Bytes => &SIZES,
    }
}

/// Parses a number with one of the suffixes.
fn quantity(text: &str, suffixes: &[(&str, f64)]) -> Option<f64> {
    suffixes.iter().find_map(|(suffix, factor)| {
        let number: f64 = text.trim().strip_suffix(suffix)?.trim().parse().ok()?;
        Some(number * factor).filter(|number| number.is_finite())
    })
}
