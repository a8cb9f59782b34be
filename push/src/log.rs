//! The data that readers share: windows and their channel logs, catch-up pages, conflation, and the
//! last value of each key.
//!
//! Deliberately absent: Kafka clients, sessions, and clocks.

pub(crate) mod window;

pub(crate) mod interest;

pub(crate) mod channel_log;

pub(crate) mod page;

pub(crate) mod conflation;

pub(crate) mod last_values;
