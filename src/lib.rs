//! The command `tailcast`: development broker, services and clients in one binary.
//!
//! [`command`] has the subcommands, [`config`] the configuration of all parts and the file of
//! defaults. `dev` has the extras of `tailcast dev`: an in-process broker, a simulated market, and
//! a page.
//!
//! Deliberately absent: how an event gets to Kafka and from there to a client. That is in
//! `tailcast_ingest` and `tailcast_push`, which share nothing but Kafka.

pub mod command;

pub mod config;

mod dev;

mod exit;

mod output;

mod process;

mod publisher;
