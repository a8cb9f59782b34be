//! Which sessions have news, and the threads that serve them.
//!
//! A channel log rings the doorbells of its subscribers; the fan-out queues the sessions whose
//! doorbells rang. What is deliberately absent: records, and any knowledge of Kafka.
//!
//! `tests/wake_model` compiles the doorbell and the fan-out once more, with loom's primitives in
//! place of `sync`, and checks every interleaving of a small configuration.

mod delay_queue;
pub(crate) mod doorbell;
pub(crate) mod fan_out;
mod pace;
mod sync;
mod threads;

#[cfg(test)]
mod tests;
