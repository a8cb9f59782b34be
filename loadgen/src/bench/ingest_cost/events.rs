//! The published events: the same keys and bytes on both sides.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

/// The shape of events.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct Events {
    /// The size of an event's value, in bytes.
    #[arg(long, default_value_t = 200, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=40_000))]
    pub(crate) payload: u32,

    /// The number of keys. Events take them in turn.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) keys: u32,
}

/// Events prepared in advance: formatting keys is not part of publishing.
#[derive(Debug)]
pub(crate) struct Written {
    keys: Vec<Bytes>,
    value: Bytes,
}

impl Events {
    pub(crate) fn write(&self) -> Result<Written> {
        let payload = usize::try_from(self.payload).context("a value fits in memory")?;
        let keys = (0..self.keys).map(|key| format!("key-{key}").into()).collect();
        Ok(Written { keys, value: vec![b'x'; payload].into() })
    }
}

impl Written {
    pub(crate) fn key(&self, number: u64) -> &Bytes {
        // The remainder is smaller than the number of keys, which is a `usize`.
        let place = usize::try_from(number % self.keys.len() as u64).unwrap_or_default();
        &self.keys[place]
    }

    pub(crate) fn value(&self) -> &Bytes {
        &self.value
    }
}
