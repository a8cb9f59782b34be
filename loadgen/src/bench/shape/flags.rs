//! The flags that choose a shape.

use clap::Args;

use super::{Preset, Shape};

/// A shape by name, with overrides.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ShapeFlags {
    /// The shape whose values are used where no flag gives one.
    #[arg(long, default_value = "S1", value_name = "NAME")]
    pub(crate) shape: Preset,

    /// The number of sockets, a multiple of the keys: each key has the same number of sockets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,

    /// The number of keys. Events take them in turn.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: Option<u32>,

    /// Events per second, over all keys.
    #[arg(long, value_name = "EVENTS/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: Option<u32>,

    /// The size of an event's value, in bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) payload: Option<u32>,
}

impl ShapeFlags {
    /// Returns the preset with the overrides applied.
    pub(crate) fn shape(&self) -> Shape {
        let preset = self.shape.shape();
        Shape {
            connections: self.connections.unwrap_or(preset.connections),
            keys: self.keys.unwrap_or(preset.keys),
            rate: self.rate.unwrap_or(preset.rate),
            payload: self.payload.unwrap_or(preset.payload),
        }
    }
}

impl From<Preset> for ShapeFlags {
    fn from(shape: Preset) -> Self {
        Self { shape, connections: None, keys: None, rate: None, payload: None }
    }
}
