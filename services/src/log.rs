//! The log of the process: to stderr, as lines for people or as JSON for machines.
//!
//! The subscriber is a registry with layers. The filter belongs to the log's layer and not to the
//! registry, so that another layer, such as an exporter of traces, chooses its own spans and
//! events.
//!
//! stdout is reserved for data. librdkafka's log is written here too; [`crate::kafka::Context`]
//! limits its rate, because an unreachable broker would otherwise fill the log.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Section `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The filter, in the syntax of `tracing`: `info`, or `info,tailcast_push=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: Format,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `pretty` when stderr is a terminal, else `json`.
    Auto,
    /// For people: one line per event, in colour on a terminal.
    Pretty,
    /// For machines: one JSON object per line.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in `tracing`'s syntax.
    #[error("log.filter: invalid filter {filter:?}: {source} (examples: `info`, `info,tailcast_push=debug`)")]
    Filter {
        /// The text found.
        filter: String,
        /// The parser's error.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber was installed before: a second `init` in one process.
    #[error("a log subscriber is already installed")]
    Begun,
}

impl Config {
    /// Checks the filter, without starting to log.
    ///
    /// # Errors
    /// [`LogError::Filter`].
    pub fn check(&self) -> Result<(), LogError> {
        self.parsed_filter().map(drop)
    }

    fn parsed_filter(&self) -> Result<EnvFilter, LogError> {
        EnvFilter::try_new(&self.filter)
            .map_err(|source| LogError::Filter { filter: self.filter.clone(), source })
    }
}

/// Starts to log. From here on, panics are logged in the same form, with their source location.
///
/// # Errors
/// See [`LogError`].
pub fn init(config: &Config) -> Result<(), LogError> {
    let filter = config.parsed_filter()?;
    let terminal = std::io::stderr().is_terminal();
    let lines = config.format.layer(terminal).with_filter(filter);
    let begun = tracing_subscriber::registry().with(lines).try_init();
    begun.map_err(|_| LogError::Begun)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

impl Format {
    /// The layer that writes lines to stderr.
    fn layer<S>(self, terminal: bool) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let lines = fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime);
        if self.is_json(terminal) {
            lines.json().flatten_event(true).boxed()
        } else {
            lines.with_ansi(terminal).boxed()
        }
    }

    fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Pretty => false,
            Self::Json => true,
        }
    }
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = crate::lifecycle::panic_message(panic.payload());
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place = place.as_deref().unwrap_or("unknown"),
        backtrace = %std::backtrace::Backtrace::capture(),
        "panic: {message}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_terminal_unless_told_otherwise() {
        assert!(!Format::Auto.is_json(true));
        assert!(Format::Auto.is_json(false));
        assert!(!Format::Pretty.is_json(false));
        assert!(Format::Json.is_json(true));
    }

    #[test]
    fn a_wrong_filter_is_refused_with_an_example() {
        let config = Config { filter: "tailcast=loud".into(), format: Format::Json };
        for refused in [config.check(), init(&config)] {
            let error = refused.expect_err("`loud` is no level");
            assert!(error.to_string().contains("info,tailcast_push=debug"), "{error}");
        }
    }
}
