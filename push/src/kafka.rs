//! The Kafka clients of a push node: the tail, questions about offsets, and catch-up.
//!
//! What is deliberately absent: consumer groups, and any knowledge of sessions.

pub(crate) mod tail;

pub(crate) mod feed;

pub(crate) mod offsets;

pub(crate) mod catch_up;
