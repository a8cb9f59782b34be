//! The configuration of the push service: section `[push]`.
//!
//! The defaults and the reasons for them stand in `default.toml`; here is what a value means.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;
use tailcast_services::topics::TopicsConfig;

/// Section `[push]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where WebSocket clients connect.
    pub listen: SocketAddr,
    /// Whether an address other than loopback may be listened on without authentication.
    pub insecure: bool,
    /// The origins of pages that may connect beside those of this server's own: `https://example.org`, or `*` for all.
    /// Requests without an `Origin` do not come from a page and are not restricted.
    pub origins: Vec<String>,
    /// The node's name, as clients see it for support. Empty: the host's name.
    pub node: String,
    /// Section `[push.sessions]`.
    pub sessions: Sessions,
    /// Section `[push.windows]`.
    pub windows: Windows,
    /// Section `[push.catch_up]`.
    pub catch_up: CatchUp,
    /// Section `[push.drain]`.
    pub drain: Drain,
    /// Section `[push.topics]`.
    pub topics: TopicsConfig,
}

/// What sessions may do, and how they are kept alive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// The most sessions of the node. At the bound an upgrade is answered 503 with `Retry-After`.
    pub count_max: usize,
    /// The most connections that have not become sessions yet. At the bound the listener accepts no more.
    pub handshakes_max: usize,
    /// The most subscriptions of one session.
    pub subscriptions_max: usize,
    /// The largest message that a client may send, in bytes. Above it the session is closed with 1009.
    pub message_bytes_max: usize,
    /// At this size a WebSocket message to a client is full, in bytes. A single larger record is sent alone.
    pub batch_bytes_max: usize,
    /// The most bytes of replies that wait for a client that does not read. At the bound nothing more is read from it.
    pub replies_bytes_max: usize,
    /// The kernel's send buffer of a connection, in bytes.
    pub send_buffer_bytes: usize,
    /// From the upgrade to `Connect`. Then the session is closed with 4408.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Between pings, with a jitter of a tenth.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// From a ping to its pong, or to anything else that the client sends. Then the session is closed with 4510.
    #[serde(with = "humantime_serde")]
    pub pong_deadline: Duration,
    /// Between heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// From the first byte of a message to its last while the client takes nothing. Then the session is closed with 4508.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
}

/// The recent records that are kept in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// What all windows and channel logs may hold together, in bytes. At the bound the largest window sheds its oldest
    /// records.
    pub bytes_max: usize,
    /// How long a partition is tailed after its last subscription left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
}

/// Reading from Kafka what has left the windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatchUp {
    /// How many partitions are read at the same time, a thread each.
    pub readers: usize,
    /// What pages may hold while they wait to be taken, in bytes. At the bound the oldest are dropped, and read again if
    /// somebody still wants them.
    pub pages_bytes_max: usize,
}

/// How sessions are asked to leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Over how long the clients' reconnects are spread.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
}
