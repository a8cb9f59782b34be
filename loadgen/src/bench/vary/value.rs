//! A value of the varied parameter: a number, or a message format.

use std::{fmt, str::FromStr};

use clap::ValueEnum as _;

use crate::bench::load::Format;

/// The largest number.
const NUMBER_MAX: u32 = 1_000_000;

/// A value of the varied parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// From 1 to a million.
    Number(u32),
    /// A message format.
    Format(Format),
}

impl FromStr for Value {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(format) = Format::from_str(text, false) {
            return Ok(Self::Format(format));
        }
        let number = text.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number));
        number
            .map(Self::Number)
            .ok_or_else(|| format!("expected 1 to {NUMBER_MAX}, or proto or json for --by format"))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Format(format) => f.write_str(format.name()),
        }
    }
}
