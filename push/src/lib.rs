//! Kafka to WebSockets.

mod channel_log;
mod doorbell;
mod interest;
mod partition;
mod record_batch;
mod window;
