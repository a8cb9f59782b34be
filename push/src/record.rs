//! Records as they are kept in memory, and their encodings.
//!
//! All other rooms share this data. Deliberately absent: locks, IO, and any knowledge of sessions.

pub(crate) mod batch;

pub(crate) mod key_hash;

pub(crate) mod channel;

pub(crate) mod chunk;
