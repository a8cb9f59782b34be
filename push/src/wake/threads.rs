//! The threads of the fan-out, and its metrics.

use std::{convert::Infallible, io, num::NonZero, sync::Arc, thread::available_parallelism, time::Instant};

use prometheus_client::registry::{Registry, Unit};
use tailcast_services::lifecycle::Lifecycle;

use super::{
    fan_out::{FanOut, Limits, Metrics},
    pace::Pace,
};
use crate::config;

/// How many sessions a thread takes at once.
const BATCH_MAX: usize = 64;
/// Maximum number of sessions the ringing thread serves inline: a fraction of a millisecond.
const INLINE_MAX: usize = 16;

impl FanOut {
    /// Makes a queue that no thread serves yet.
    pub(crate) fn new(config: &config::FanOutConfig, registry: &mut Registry) -> Arc<Self> {
        Self::with_inline_max(config, INLINE_MAX, registry)
    }

    /// Makes a queue that nobody ever serves.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn idle() -> Arc<Self> {
        Self::without_inline(&config::FanOutConfig { threads: 1, pause_max: std::time::Duration::ZERO })
    }

    /// Makes a queue for threads: nothing is served inline.
    #[cfg(any(test, feature = "benchmarks"))]
    fn without_inline(config: &config::FanOutConfig) -> Arc<Self> {
        Self::with_inline_max(config, 0, &mut Registry::default())
    }

    fn with_inline_max(
        config: &config::FanOutConfig,
        inline_max: usize,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("tailcast_push_fan_out");
        let help = "Sessions with something new that no thread has taken yet, not counting delayed ones";
        registry.register("waiting", help, metrics.waiting.clone());
        let help = "Pause of a session after a write; 0 while the node is not under load";
        registry.register_with_unit("pause", help, Unit::Seconds, metrics.pause.clone());
        let (cores, start) = (available_parallelism().map_or(1, NonZero::get), Instant::now());
        let threads = if config.threads == 0 { cores } else { config.threads };
        let limits = Limits { threads, batch_max: BATCH_MAX, inline_max };
        Self::with_limits(limits, Pace::new(config.pause_max, cores, start), start, metrics)
    }

    /// Starts the threads; they end when the process closes.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a thread.
    pub(crate) fn start(self: &Arc<Self>, lifecycle: &Lifecycle) -> io::Result<()> {
        for _ in 0..self.limits.threads {
            let (fan_out, phases) = (Arc::clone(self), lifecycle.clone());
            lifecycle.supervise_thread("fan-out", move || {
                fan_out.run(|| phases.is_closing());
                Ok::<_, Infallible>(())
            })?;
        }
        let fan_out = Arc::clone(self);
        lifecycle.on_closing("fan-out-end", move || fan_out.wake_all());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
