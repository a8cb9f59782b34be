//! The way in: gRPC to Kafka. Acknowledges what Kafka acknowledged, and nothing else.
//!
//! A call passes the `gate`, is checked by `validation`, gets its part of the `budget`, and is handed to the `producer` by
//! the `publisher`, which checks the caller's permission. Each message ends with an `outcome`, carried by its `delivery`.
//! `publish` is the unary call, `stream` the bidirectional one. `server` binds it all together and drains it.
//!
//! Promises kept here: an acknowledged message is durable (P1), no outcome is false (P2), overload is refused early (P8).
//! Nothing is kept: a process that dies loses only answers, and what was in flight is unknown to its callers.

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
