//! Injected faults: readers that stop reading or read slowly, and all connections dropped at once.

use std::time::Duration;

use clap::Args;

/// Injected faults.
#[derive(Debug, Clone, Args)]
pub(crate) struct Faults {
    /// The percentage of connections that stop reading for a while.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) slow_percent: u8,

    /// The receive buffer of those connections (SO_RCVBUF, set before connecting; Linux doubles
    /// it), in bytes.
    #[arg(long, default_value_t = 4096, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    pub(crate) slow_receive_buffer: u32,

    /// When they stop reading, after measuring began.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) slow_after: Duration,

    /// How long they do not read.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) slow_for: Duration,

    /// Read slowly instead of not at all: pause for this long after each WebSocket message.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) slow_pause: Option<Duration>,

    /// When to drop all connections at once, after measuring began [default: never].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) storm_at: Option<Duration>,

    /// How many records each connection misses before all reconnect at once.
    #[arg(long, default_value_t = 1000, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub(crate) storm_behind: u64,
}

impl Faults {
    pub(super) fn check(&self, duration: Duration) -> Result<(), String> {
        let slow_until = self.slow_after + self.slow_for;
        if self.slow_percent > 0 && slow_until > duration {
            return Err(format!(
                "slow readers resume reading after {} s: use at least --duration {}s",
                slow_until.as_secs_f64(),
                slow_until.as_secs_f64().ceil()
            ));
        }
        Ok(())
    }
}
