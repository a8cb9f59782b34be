//! What librdkafka says to the process: log lines, at a bounded rate, and statistics.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;

use super::line_limit::LineLimit;

/// Passes librdkafka's lines on to the log, at the rate that a person can read. For contexts of one's own, such as a
/// producer's with its delivery reports.
#[derive(Debug)]
pub struct ClientLog {
    client: &'static str,
    limit: Mutex<LineLimit>,
}

/// The context of a client that needs nothing but its log and its statistics.
pub struct Context {
    log: ClientLog,
    statistics: Option<Box<dyn Fn(Statistics) + Send + Sync>>,
}

impl ClientLog {
    /// For the client that the log calls `client`, such as `tail`.
    pub fn new(client: &'static str) -> Self {
        Self { client, limit: Mutex::default() }
    }

    /// For `ClientContext::log`.
    pub fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let Some(held_back) = self.admit(facility) else { return };
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", client, facility, held_back, "{message}");
            }
            RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", client, facility, held_back, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", client, facility, held_back, "{message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", client, facility, held_back, "{message}");
            }
        }
    }

    /// For `ClientContext::error`. These are conditions of the client as a whole; librdkafka goes on trying.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            // Not an error: a reader that asked to be told has reached the end.
            return;
        }
        let facility =
            error.rdkafka_error_code().map_or_else(|| "ERROR".to_owned(), |code| format!("{code:?}"));
        self.line(RDKafkaLogLevel::Warning, &facility, reason);
    }

    fn admit(&self, facility: &str) -> Option<u64> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).admit(facility, Instant::now())
    }
}

impl Context {
    /// For the client that the log calls `client`.
    pub fn new(client: &'static str) -> Self {
        Self { log: ClientLog::new(client), statistics: None }
    }

    /// Hands the statistics that librdkafka gathers every `statistics.interval.ms` to `receive`, on the thread that polls
    /// the client.
    #[must_use]
    pub fn with_statistics(mut self, receive: impl Fn(Statistics) + Send + Sync + 'static) -> Self {
        self.statistics = Some(Box::new(receive));
        self
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(receive) = &self.statistics {
            receive(statistics);
        }
    }
}

impl ConsumerContext for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("log", &self.log).finish_non_exhaustive()
    }
}
