//! Publishing: gRPC to Kafka. A message is acknowledged only after Kafka has acknowledged it.
//!
//! A call passes the `gate`, is parsed by `validation` and takes from the in-flight `budget`. The
//! `publisher` checks the caller's permission and enqueues the messages in the `producer`. Each
//! message ends with an `outcome`, which its `completion` reports to the call. `publish` serves the
//! unary call, `stream` the bidirectional one. `server` assembles the parts and drains them.
//!
//! Promises kept here: an acknowledged message is durable (P1), no outcome is false (P2), overload
//! is rejected early (P8). The process has no state of its own: if it dies, only answers are lost,
//! and the outcome of messages in flight is unknown to their callers.

mod config;

mod server;

mod connections;

mod gate;

mod service;

mod validation;

mod trace;

mod deadline;

mod budget;

mod publish;

mod stream;

mod publisher;

mod producer;

mod completion;

mod outcome;

mod call_error;

mod health;

mod metrics;

pub use self::{
    config::{Config, ConfigError},
    producer::ProducerError,
    server::{BindError, Ingest},
};
