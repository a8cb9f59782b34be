//! The loads that are compared.
//!
//! Invariant: deliveries per second are the same at every value, in total and per connection. A
//! node with more to do per second makes larger messages, and looks cheaper. Where possible each
//! delivery is an event of its own, so that every delivery includes reading. The exceptions are
//! `rate` for the former and `keys` for the latter.

use std::fmt;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Value;
use crate::bench::{
    load::{Format, Load},
    shape::Shape,
    timing::Timing,
};

/// The size of an event's value, unless it is varied.
const PAYLOAD: u32 = 512;

/// Channels per connection while the keys are varied, so that every key has a subscriber.
const CHANNELS: u32 = 10;

/// Connections per key, unless it is varied.
const FAN_OUT: u32 = 4;

/// The flags of `vary`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct VaryFlags {
    /// The value to vary, while deliveries per second stay the same (except for `rate`).
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) by: Axis,

    /// Its values in ascending order, separated by commas: numbers, or proto and json for `format`
    /// [default: those of BENCHMARKS.md].
    #[arg(long, value_delimiter = ',', value_name = "VALUE,…")]
    pub(crate) values: Vec<Value>,

    /// The number of connections, except for `connections` [default: 10,000 for keys, 1,000 for
    /// subscriptions, else 4,000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,

    /// Deliveries per second, of all connections.
    #[arg(long, default_value_t = 10_000, value_name = "N/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) deliveries: u32,
}

impl From<Axis> for VaryFlags {
    fn from(by: Axis) -> Self {
        Self { by, values: Vec::new(), connections: None, deliveries: 10_000 }
    }
}

/// The value that is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// Connections, each with its own key.
    Connections,
    /// Keys, with ten subscriptions per connection.
    Keys,
    /// Subscriptions per connection, each with its own key.
    Subscriptions,
    /// The size of an event's value.
    Payload,
    /// Events per second.
    Rate,
    /// Protobuf, and ProtoJSON.
    Format,
}

/// The loads at one value.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) value: String,
    /// The floor with the same events, connections per event, and deliveries.
    pub(crate) floor: Shape,
    pub(crate) load: Load,
}

impl Axis {
    /// Returns whether the growth of the cost has a bound.
    pub(crate) fn is_bounded(self) -> bool {
        matches!(self, Self::Connections | Self::Keys | Self::Subscriptions)
    }

    /// Returns whether the floor's cost grows as well: with more keys for the same connections,
    /// fewer connections share an event, so more events are read for the same deliveries, and each
    /// wakes its own subscribers.
    pub(crate) fn floor_has_to_grow(self) -> bool {
        self == Self::Keys
    }

    /// Returns the name of the growth at a value.
    pub(crate) fn growth_of(self, value: &str) -> String {
        let more = if self.floor_has_to_grow() { ", on top of the floor's" } else { "" };
        format!("CPU per delivery at {value}, × the smallest{more}")
    }

    /// Returns the values of BENCHMARKS.md, smallest first.
    fn values(self) -> Vec<Value> {
        let numbers = match self {
            Self::Connections => [1_000, 4_000, 16_000],
            Self::Keys => [10, 1_000, 100_000],
            Self::Subscriptions => [1, 10, 100],
            Self::Payload => [64, 512, 4_096],
            Self::Rate => [500, 2_000, 8_000],
            Self::Format => return [Format::Proto, Format::Json].map(Value::Format).to_vec(),
        };
        numbers.map(Value::Number).to_vec()
    }

    /// Returns the number of connections, unless it is varied.
    fn connections(self) -> u32 {
        match self {
            Self::Keys => 10_000,
            Self::Subscriptions => 1_000,
            Self::Connections | Self::Payload | Self::Rate | Self::Format => 4_000,
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Returns the loads that are compared, smallest value first. Fails when a value cannot be compared
/// with the others; the error has the valid values.
pub(crate) fn cases(flags: &VaryFlags, timing: Timing) -> Result<Vec<Case>, String> {
    let values = if flags.values.is_empty() { flags.by.values() } else { flags.values.clone() };
    let numbers = values.iter().map(|value| match value {
        Value::Number(number) => *number,
        Value::Format(_) => 0,
    });
    // Costs are divided by the cost at the first value.
    if flags.by != Axis::Format && !numbers.is_sorted_by(|one, next| one < next) {
        return Err(format!("--by {}: values must be numbers in ascending order", flags.by));
    }
    values.iter().map(|&value| case(flags, value, timing)).collect()
}

fn case(flags: &VaryFlags, at: Value, timing: Timing) -> Result<Case, String> {
    let (value, format) = match (flags.by, at) {
        (Axis::Format, Value::Format(format)) => (0, format),
        (Axis::Format, Value::Number(_)) => {
            return Err(format!("--by format {at}: values are proto and json"));
        }
        (_, Value::Number(number)) => (number, Format::Proto),
        (by, Value::Format(_)) => return Err(format!("--by {by} {at}: values are numbers")),
    };
    let (deliveries, connections) =
        (flags.deliveries, flags.connections.unwrap_or_else(|| flags.by.connections()));
    let plain =
        Shape { connections, keys: connections / FAN_OUT, rate: deliveries / FAN_OUT, payload: PAYLOAD };
    let (floor, channels_per_connection, keys) = match flags.by {
        Axis::Connections => (Shape { connections: value, keys: value, rate: deliveries, ..plain }, 1, value),
        Axis::Keys => {
            let fan_out = (connections.saturating_mul(CHANNELS) / value).max(1);
            (Shape { keys: connections / fan_out, rate: deliveries / fan_out, ..plain }, CHANNELS, value)
        }
        Axis::Subscriptions => {
            (Shape { keys: connections, rate: deliveries, ..plain }, value, connections.saturating_mul(value))
        }
        Axis::Payload => (Shape { payload: value, ..plain }, 1, plain.keys),
        Axis::Rate => (Shape { rate: value, ..plain }, 1, plain.keys),
        Axis::Format => (plain, 1, plain.keys),
    };
    let load = Load { keys, channels_per_connection, format, ..Load::of(&floor, timing) };
    let case = Case { value: at.to_string(), floor, load };
    case.check().map_err(|why| format!("--by {} {at}: {why}", flags.by))?;
    Ok(case)
}

impl Case {
    /// Checks that the floor makes the deliveries that loadgen expects.
    fn check(&self) -> Result<(), String> {
        let Load { connections, channels_per_connection, keys, rate, .. } = self.load;
        if (1..channels_per_connection).contains(&keys) {
            return Err(format!("each connection subscribes to {channels_per_connection} keys"));
        }
        if keys == 0 || rate == 0 || self.floor.keys == 0 {
            return Err("too few connections or deliveries".into());
        }
        self.floor.check()?;
        self.load.check()?;
        let subscriptions = u64::from(connections) * u64::from(channels_per_connection);
        if subscriptions != u64::from(self.floor.fan_out()) * u64::from(keys) {
            return Err(format!("{subscriptions} subscriptions are not a multiple of {keys} keys"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flags::parse;

    fn found(flags: &str) -> Result<Vec<Case>, String> {
        let flags = parse::<VaryFlags>(&format!("--by {flags}")).map_err(|error| error.to_string())?;
        cases(&flags, parse("").expect("all have defaults"))
    }

    #[track_caller]
    fn check(flags: &str, deliveries: u64) {
        for case in found(flags).expect("they can be measured") {
            let Load { connections, channels_per_connection, keys, rate, .. } = case.load;
            let subscriptions = u64::from(connections) * u64::from(channels_per_connection);
            assert_eq!(u64::from(rate) * subscriptions / u64::from(keys), deliveries, "{flags}: {case:?}");
            let floor = u64::from(case.floor.rate) * u64::from(case.floor.fan_out());
            assert_eq!(floor, deliveries, "{flags}: {case:?}");
            assert_eq!((case.floor.connections, case.floor.rate), (connections, rate), "{flags}");
        }
    }

    #[test]
    fn deliveries_are_the_same_at_every_value_and_on_the_floor() {
        check("connections", 10_000);
        check("keys", 10_000);
        check("subscriptions", 10_000);
        check("payload", 10_000);
        check("format", 10_000);
    }

    #[test]
    fn one_value_changes() {
        let loads = |flags| found(flags).expect("they can be measured").into_iter().map(|case| case.load);
        let channels = |load: Load| (load.keys, load.channels_per_connection);
        assert_eq!(loads("keys").map(channels).collect::<Vec<_>>(), [(10, 10), (1_000, 10), (100_000, 10)]);
        assert_eq!(
            loads("subscriptions").map(channels).collect::<Vec<_>>(),
            [(1_000, 1), (10_000, 10), (100_000, 100)]
        );
        assert_eq!(loads("rate --values 100,400").map(|load| load.rate).collect::<Vec<_>>(), [100, 400]);
    }

    #[test]
    fn formats_are_values_like_numbers() {
        // Values of `format` used to be ignored, and both formats measured.
        let formats =
            |flags| found(flags).expect("they can be measured").into_iter().map(|case| case.load.format);
        assert_eq!(formats("format").collect::<Vec<_>>(), [Format::Proto, Format::Json]);
        assert_eq!(formats("format --values json,proto").collect::<Vec<_>>(), [Format::Json, Format::Proto]);
        assert_eq!(found("format --values json").expect("it can be measured")[0].value, "json");
    }

    #[test]
    fn values_that_cannot_be_compared_are_rejected_with_the_reason() {
        #[track_caller]
        fn check(flags: &str, expected: &str) {
            let wrong = found(flags).expect_err("they cannot be measured");
            assert!(wrong.contains(expected), "{flags}: {wrong}");
        }
        check("keys --connections 1000 --values 17", "multiple of 17 keys");
        check("keys --values 5", "each connection subscribes to 10 keys");
        check("format --values 5", "values are proto and json");
        check("rate --values proto", "values are numbers");
        check("rate --values 2000,500", "numbers in ascending order");
        check("rate --values 0", "1 to 1000000");
        check("rate --connections 2", "too few connections");
    }
}
