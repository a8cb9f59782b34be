//! The recent records of a partition and what readers find in them.
//!
//! Windows and their channel logs, pages read from Kafka again, conflation, and the latest value of each key. What is
//! deliberately absent: Kafka clients, sessions, and clocks.

pub(crate) mod window;

pub(crate) mod interest;

pub(crate) mod channel_log;

pub(crate) mod page;

pub(crate) mod conflation;

pub(crate) mod last_values;
