//! Kafka to WebSockets: tails the partitions that somebody watches, and delivers to each client at its own pace.
//!
//! A record's way: `feed` reads it from Kafka and appends it to its partition's `window`, which encodes it once for each
//! channel that it belongs to, into that channel's `channel_log`. The doorbells of the sessions that watch the channel
//! ring. A `session` whose socket has taken its last message gathers what its `cursor`s have not handed out and writes it
//! as one WebSocket message. What has left the window is read from Kafka again by `catch_up`.
//!
//! What is deliberately absent: a queue per client, a consumer group, and any knowledge of who publishes.

// In this order, imports point from a room to those below it, and never up. `tidy` checks it.

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
