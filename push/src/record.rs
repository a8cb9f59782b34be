//! The ground: records as they are kept in memory, and their encodings.
//!
//! Data that every other room shares. What is deliberately absent: locks, IO, and any knowledge of sessions.

pub(crate) mod batch;

pub(crate) mod key_hash;

pub(crate) mod chunk;
