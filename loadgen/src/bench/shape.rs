//! The shapes of load at which figures are compared.

mod flags;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use self::flags::ShapeFlags;

/// A load: the connections and the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) keys: u32,
    /// Events per second, over all keys.
    pub(crate) rate: u32,
    /// The size of an event's value, in bytes.
    pub(crate) payload: u32,
}

/// A named shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Preset {
    /// 12,000 connections, 1,000 keys, 1,000 events/s of 512 bytes: nearly every delivery is a
    /// write of its own.
    #[value(name = "S1")]
    S1,
    /// The same with 5,000 events/s.
    #[value(name = "S1x5")]
    S1x5,
    /// 1,000 connections, one key, 400 events/s of 200 bytes: more than one core can do with one
    /// send per delivery.
    #[value(name = "S2")]
    S2,
    /// 100 connections, one key, 5,000 events/s of 200 bytes: likewise.
    #[value(name = "S3")]
    S3,
}

/// Whether the load leaves CPU for loadgen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// Yes: if loadgen is late nevertheless, its latencies are partly its own, and are not judged.
    Spare,
    /// No, by design: the shape measures both cores at full load. Latency is judged including
    /// loadgen's own lateness, which only makes it longer, so a kept bound is kept.
    Full,
}

impl Preset {
    /// Returns the preset's values.
    pub(crate) fn shape(self) -> Shape {
        let ((connections, keys, rate, payload), _) = self.row();
        Shape { connections, keys, rate, payload }
    }

    /// Returns whether the load leaves CPU for loadgen.
    pub(crate) fn cores(self) -> Cores {
        self.row().1
    }

    /// The table of shapes: connections, keys, events per second and bytes; and whether the cores
    /// are full.
    fn row(self) -> ((u32, u32, u32, u32), Cores) {
        match self {
            Self::S1 => ((12_000, 1_000, 1_000, 512), Cores::Spare),
            Self::S1x5 => ((12_000, 1_000, 5_000, 512), Cores::Spare),
            Self::S2 => ((1_000, 1, 400, 200), Cores::Full),
            Self::S3 => ((100, 1, 5_000, 200), Cores::Full),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, keys, rate, payload } = self;
        write!(f, "{connections} connections, {keys} keys, {rate} events/s of {payload} bytes")
    }
}

impl Shape {
    /// Checks that this can be measured.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.connections.is_multiple_of(self.keys) {
            return Ok(());
        }
        Err(format!("{} connections are not a multiple of the {} keys", self.connections, self.keys))
    }

    /// Returns the flags for a child process.
    pub(crate) fn flags(&self) -> [String; 4] {
        let Self { connections, keys, rate, payload } = self;
        [
            format!("--connections={connections}"),
            format!("--keys={keys}"),
            format!("--rate={rate}"),
            format!("--payload={payload}"),
        ]
    }

    /// Returns the number of deliveries per event.
    pub(crate) fn fan_out(&self) -> u32 {
        self.connections / self.keys
    }

    /// Returns the key of an event by its number: events take the keys in turn.
    pub(crate) fn key(&self, event: u64) -> u64 {
        event % u64::from(self.keys)
    }

    /// Returns the receivers of an event. Connection i has key i modulo the keys, as in loadgen, so
    /// neighbours in the table are not written one after the other.
    pub(crate) fn receivers(&self, event: u64) -> impl Iterator<Item = usize> {
        let (first, step) = (self.key(event), u64::from(self.keys));
        (0..u64::from(self.fan_out())).map(move |place| {
            usize::try_from(first + place * step)
                .expect("a connection's number is a u32, and fits in a usize")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_make_the_deliveries_that_they_are_named_for() {
        let per_second = |preset: Preset| preset.shape().fan_out() * preset.shape().rate;
        assert_eq!(
            [Preset::S1, Preset::S1x5, Preset::S2, Preset::S3].map(per_second),
            [12_000, 60_000, 400_000, 500_000]
        );
    }

    #[test]
    fn each_event_goes_to_the_connections_of_its_key() {
        let shape = Shape { connections: 6, keys: 3, rate: 1, payload: 1 };
        let receivers = |event| shape.receivers(event).collect::<Vec<_>>();
        assert_eq!([receivers(0), receivers(1), receivers(2)], [[0, 3], [1, 4], [2, 5]]);
        assert_eq!(receivers(3), receivers(0));
    }

    #[test]
    fn connections_are_spread_evenly_or_not_at_all() {
        let shape = Shape { connections: 6, keys: 4, rate: 1, payload: 1 };
        assert!(shape.check().is_err_and(|why| why.contains("6 connections")));
        assert_eq!(Shape { keys: 6, ..shape }.check(), Ok(()));
        assert!(Shape { keys: 7, ..shape }.check().is_err());
    }
}
