//! The Kafka clients of a push node: tail, offset queries, and catch-up.
//!
//! Deliberately absent: consumer groups, and any knowledge of sessions.

pub(crate) mod tail;

pub(crate) mod feed;

pub(crate) mod offsets;

pub(crate) mod catch_up;
