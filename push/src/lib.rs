//! Kafka to WebSockets: tails the partitions that clients watch, and delivers to each client at its
//! own pace.
//!
//! The path of a record: `feed` reads it from Kafka and appends it to the `window` of its
//! partition, which encodes it once for each subscribed channel it belongs to, into that channel's
//! `channel_log`. The log rings the doorbells of the subscribed sessions. A `session` whose socket
//! has accepted the previous message gathers the new records of its `cursor`s and writes them as
//! one WebSocket message. Records that have left the window are read from Kafka again by
//! `catch_up`.
//!
//! Deliberately absent: a queue per client, a consumer group, and any knowledge of publishers.

// Each room imports only from the rooms listed below it. `tidy` checks this.

mod push;

mod edge;

mod session;

mod cursor;

mod node;

mod kafka;

mod partition;

mod log;

mod wake;

mod record;

mod metrics;

mod clock;

pub mod config;

#[cfg(feature = "benchmarks")]
pub mod benchmarks;

pub use self::{
    config::Config,
    edge::HttpFallback,
    push::{BindError, Push},
};
