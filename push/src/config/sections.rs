//! The sections of `[push]`.

use std::time::Duration;

use serde::Deserialize;

/// Limits and timeouts of sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// Maximum number of sessions. At the limit, upgrades are answered with 503 and `Retry-After`.
    pub count_max: usize,
    /// Maximum number of connections that are not sessions yet. At the limit, the oldest one that
    /// has sent nothing is closed; if there is none, the listener stops accepting.
    pub handshakes_max: usize,
    /// Maximum number of subscriptions of a session.
    pub subscriptions_max: usize,
    /// Maximum number of partitions that the subscriptions of a session span in total.
    pub cursors_max: usize,
    /// Maximum size of a message from a client, in bytes. A larger one closes the session with
    /// 1009.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub message_bytes_max: usize,
    /// Size at which a WebSocket message to a client is full, in bytes. A larger record is sent
    /// alone.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub batch_bytes_max: usize,
    /// Maximum size of the replies that a client has not read, in bytes. At the limit, the node
    /// stops reading from the client.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub replies_bytes_max: usize,
    /// Maximum lag of a lossless subscription that was live, in offsets. Beyond it, the session is
    /// closed with 4508. 0: no limit but Kafka's retention.
    pub lag_records_max: u64,
    /// Maximum number of bytes buffered for blocked sockets, over all sessions. Near the limit,
    /// messages become small; beyond it, the sessions that have been blocked longest are closed
    /// with 4508, unless that is not long.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub waiting_bytes_max: usize,
    /// Send buffer of a connection in the kernel, in bytes.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub send_buffer_bytes: usize,
    /// Maximum number of unsent bytes of a connection in the kernel. At the limit, the socket is
    /// blocked.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub unsent_bytes_max: usize,
    /// Timeout from the upgrade to `Connect`. Then the session is closed with 4408.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Interval between pings, with a jitter of 10 %. A ping is sent early, with a heartbeat, if
    /// the next heartbeat would come after it.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Timeout from a ping to its pong, or to any other data from the client. Then the session is
    /// closed with 4510.
    #[serde(with = "humantime_serde")]
    pub pong_deadline: Duration,
    /// Interval between heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Timeout of a blocked socket. Then the session is closed with 4508.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
}

/// Settings of the threads that write new records to clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanOutConfig {
    /// Number of threads. 0: one for each core.
    pub threads: usize,
    /// Maximum pause of a session after a write, under load. Records that arrive meanwhile are sent
    /// as one message. 0: no pause.
    #[serde(with = "humantime_serde")]
    pub pause_max: Duration,
}

/// Settings of the recent records kept in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsConfig {
    /// Maximum memory of all windows and channel logs, in bytes. At the limit, the largest window
    /// evicts its oldest records.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
    /// How long a partition is tailed after its last subscription has ended.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

/// Settings of reading records from Kafka that have left the windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatchUpConfig {
    /// Number of reader threads. Each reads one partition at a time.
    pub readers: usize,
    /// Maximum rate of all readers together, in bytes of records per second. 0: no limit.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_per_second_max: u64,
    /// Maximum memory of pages, in bytes. At the limit, the oldest are dropped, and read again if a
    /// cursor still needs them.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub pages_bytes_max: usize,
}

/// Settings of the latest value of each key, for topics with `last_values = true`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastValuesConfig {
    /// Maximum memory of the last values of all topics, in bytes: keys, values, headers, and 256
    /// for each. A topic that exceeds it loses its last values until the process restarts, and its
    /// snapshots are refused.
    #[serde(deserialize_with = "tailcast_services::config::bytes")]
    pub bytes_max: usize,
}

/// Settings of draining.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    /// Period over which clients are asked to reconnect.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
}
