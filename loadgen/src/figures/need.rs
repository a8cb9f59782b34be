//! The flags that a figure depends on.

/// A prerequisite of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A bare consumer next to the connections.
    CompareKafka,
    /// A process whose CPU and memory are measured.
    ServerPid,
    /// Metrics pages of nodes.
    ServerMetrics,
    /// Connections that stop reading.
    SlowPercent,
    StormAt,
    /// Conflated subscriptions.
    Conflated,
}

impl Need {
    /// Returns the flag that enables it.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::CompareKafka => "--compare-kafka",
            Self::ServerPid => "--server-pid PID",
            Self::ServerMetrics => "--server-metrics URL",
            Self::SlowPercent => "--slow-percent PERCENT",
            Self::StormAt => "--storm-at TIME",
            Self::Conflated => "--mode conflated",
        }
    }
}
