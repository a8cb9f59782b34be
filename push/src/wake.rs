//! Which sessions have news, and the threads that serve them.
//!
//! A channel log rings the doorbells of its subscribers; the fan-out queues the sessions that rang. What is deliberately
//! absent: records, and any knowledge of Kafka.

pub(crate) mod doorbell;

pub(crate) mod fan_out;
