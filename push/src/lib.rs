//! Kafka to WebSockets: tails the partitions that somebody watches, and delivers to each client at its own pace.
//!
//! A record's way: `feed` reads it from Kafka and appends it to its partition's `window`, which encodes it once for each
//! channel that it belongs to, into that channel's `channel_log`. The doorbells of the sessions that watch the channel
//! ring. A `session` whose socket has taken its last message gathers what its `cursor`s have not handed out and writes it
//! as one WebSocket message. What has left the window is read from Kafka again by `catch_up`.
//!
//! What is deliberately absent: a queue per client, a consumer group, and any knowledge of who publishes.

mod push;

mod server;

mod pages;

mod session;

mod cursor;

mod conflation;

mod channel_log;

mod doorbell;

mod fan_out;

mod window;

mod interest;

mod record_batch;

mod partition;

mod fence;

mod hub;

mod feed;

mod upkeep;

mod tail;

mod catch_up;

mod last_values;

mod kafka_offsets;

pub mod config;

mod metrics;

#[cfg(feature = "benchmarks")]
pub mod benchmarks;

pub use self::{
    config::Config,
    pages::Pages,
    push::{BindError, Push},
};
