//! What a run has to be asked for, so that a figure is measured at all.

/// What a figure is not measured without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A bare consumer beside the connections.
    CompareKafka,
    /// A process whose CPU and memory are read.
    ServerPid,
    /// Nodes that say what they did.
    ServerMetrics,
    /// Connections that stop reading.
    SlowPercent,
    /// A reconnect storm.
    StormAt,
    /// Conflated subscriptions.
    Conflated,
}

impl Need {
    /// Returns the flag that asks for it.
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
