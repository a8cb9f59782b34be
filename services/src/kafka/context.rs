//! librdkafka's callbacks into the process: log lines, at a bounded rate, and statistics.
//!
//! A process has several clients with connections of their own, and each of them reports a failed
//! broker, as a log line and as an error. Only the first line for each broker and period is logged.
//! The lines of a client that is polled only on demand arrive late and without a time, so they are
//! logged at debug.

use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;

use super::broker_failure::BrokerFailure;
use super::line_limit::LineLimit;

/// Writes librdkafka's lines to the log, at a limited rate. For custom client contexts, such as a
/// producer's with its delivery reports.
#[derive(Debug)]
pub struct ClientLog {
    client: &'static str,
    polled: Polled,
    limit: Mutex<LineLimit>,
    last_failure: Mutex<Option<BrokerFailure>>,
}

/// How often a client is polled, and so how soon librdkafka's lines arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    /// Continuously.
    Always,
    /// On demand; its broker failures may be old.
    OnDemand,
}

/// Broker failures of all clients of the process.
static BROKERS: LazyLock<Mutex<LineLimit>> = LazyLock::new(|| Mutex::new(LineLimit::new(1)));

/// The context of a client that needs only a log and statistics.
pub struct Context {
    log: ClientLog,
    statistics: Option<Box<dyn Fn(Statistics) + Send + Sync>>,
}

impl ClientLog {
    /// For a client that is polled continuously; `client` is its name in the log, such as `tail`.
    pub fn new(client: &'static str) -> Self {
        Self { client, polled: Polled::Always, limit: Mutex::default(), last_failure: Mutex::default() }
    }

    /// For `ClientContext::log`.
    pub fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(failure) = BrokerFailure::parse(facility, message) {
            return self.broker_failed(failure);
        }
        let Some(suppressed) = admit(&self.limit, facility) else { return };
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", client, facility, suppressed, "{message}");
            }
            RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", client, facility, suppressed, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", client, facility, suppressed, "{message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", client, facility, suppressed, "{message}");
            }
        }
    }

    /// For `ClientContext::error`. These are conditions of the client as a whole; librdkafka
    /// retries.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        let client = self.client;
        match error.rdkafka_error_code() {
            // Not an error: a reader that enabled this event has reached the end.
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            // Each broker's failure has been logged, with its address.
            Some(
                code @ (RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut),
            ) => tracing::debug!(target: "librdkafka", client, ?code, "{reason}"),
            Some(code) => self.line(RDKafkaLogLevel::Warning, &format!("{code:?}"), reason),
            None => self.line(RDKafkaLogLevel::Warning, "UNKNOWN", reason),
        }
    }

    /// The latest failed connection of this client.
    pub fn last_failure(&self) -> Option<BrokerFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn broker_failed(&self, failure: BrokerFailure) {
        let (client, broker, error) = (self.client, &failure.address, &failure.error);
        match self.polled {
            Polled::OnDemand => {
                tracing::debug!(target: "librdkafka", client, broker, error, "broker connection failed");
            }
            Polled::Always => {
                if let Some(suppressed) = admit(&BROKERS, broker) {
                    tracing::warn!(
                        target: "librdkafka", client, broker, error, suppressed,
                        "broker connection failed, retrying"
                    );
                }
            }
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

/// Whether a line may be written, and if so, how many were suppressed before it.
fn admit(limit: &Mutex<LineLimit>, cause: &str) -> Option<u64> {
    limit.lock().unwrap_or_else(PoisonError::into_inner).admit(cause, Instant::now())
}

impl Context {
    /// For a client that is polled continuously; `client` is its name in the log.
    pub fn new(client: &'static str) -> Self {
        Self { log: ClientLog::new(client), statistics: None }
    }

    /// For a client that is polled on demand.
    pub fn on_demand(client: &'static str) -> Self {
        Self { log: ClientLog { polled: Polled::OnDemand, ..ClientLog::new(client) }, statistics: None }
    }

    /// The latest failed connection of this client.
    pub fn last_failure(&self) -> Option<BrokerFailure> {
        self.log.last_failure()
    }

    /// Calls `receive` with librdkafka's statistics every `statistics.interval.ms`, on the thread
    /// that polls the client.
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
