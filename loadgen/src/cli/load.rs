//! What is published, and for how long.

use std::time::Duration;

use clap::Args;

use crate::payload;

#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// The number of keys. Events take them in turn; connection i subscribes to key number i modulo
    /// N.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: u32,

    /// Events per second, over all keys.
    #[arg(long, default_value_t = 1000, value_name = "EVENTS/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: u32,

    /// The size of an event's value, in bytes; at least 36, which the verification needs.
    #[arg(long, default_value_t = 512, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// How long to measure: 500ms, 30s, 5m, …
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// How long to publish before measuring begins. These events are verified but not measured.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// How long to leave the connections idle before their memory is measured.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) idle: Duration,

    /// How long to wait at the end without any missing delivery arriving. Deliveries that are still
    /// missing then are lost.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,
}

impl Load {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.duration.is_zero() {
            return Err("--duration 0s measures nothing; use at least 1s".into());
        }
        let events = u128::from(self.rate) * (self.warmup + self.duration).as_secs() as u128;
        // The ledger has two bits per event.
        if events > 4_000_000_000 {
            return Err(format!("{events} events exceed the limit of 4,000,000,000 per run"));
        }
        Ok(())
    }

    /// Returns how long events are published, including the warm-up.
    pub(crate) fn length(&self) -> Duration {
        self.warmup + self.duration
    }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if (payload::BYTES_MIN..=1_000_000).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a value has {} to 1000000 bytes", payload::BYTES_MIN))
    }
}
