//! The tools for the scenarios in `scenarios/`.
//!
//! A scenario is an `async fn(Broker)`. It starts the nodes it needs in this process (a
//! [`cluster`]), each with its own lifecycle and free port, over a [`broker`] that is either
//! in-process or Apache Kafka; publishes through ingest; and receives with a [`subscriber`] that
//! shares no code with Tailcast's own client.
//!
//! Deliberately absent: sleeping. Scenarios wait for conditions, with a [`deadline`] that reports
//! the last value seen.

pub mod scenario;

pub mod broker;

pub mod apache_kafka;

mod plain_client;

pub mod topic;

pub mod record;

pub mod cluster;

pub mod node;

pub mod process;

pub mod held_address;

pub mod metrics;

pub mod configuration;

pub mod publisher;

pub mod raw_codec;

pub mod subscriber;

pub mod conflated;

pub mod start;

pub mod socket;

pub mod raw_socket;

pub mod deadline;

pub mod log;
